"""Input encoding of POLAR (arXiv:2507.05197; InternLM/POLAR at commit 80626f3).

    sft         prompt \\n reference <|reward|> prompt \\n output [UNUSED_TOKEN_130]
    pretrain    the same without the line breaks

Independent of the model, since POLAR on a server takes the same text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from uniapl.discriminators.base import Comparison

BETWEEN = "<|reward|>"
"""Separates the reference's half from the output's."""
END = "[UNUSED_TOKEN_130]"
"""The score is read at this token."""
MAX_TOKENS = 16384 - 4
"""Limit of both halves together, without the two tokens above and the two line breaks."""
MAX_ANSWER_TOKENS = 4096
"""Limit of the reference, and of the output."""


def encode(
    tokenizer: Any,  # a transformers tokenizer
    comparison: Comparison,
    wrapper: Literal["sft", "pretrain"],
) -> str:
    """The input text of POLAR.

    Answers are truncated to their first 4096 tokens. The prompt, which is in both halves, gets half of the remaining
    tokens and keeps its end. A tokenizer's first token, such as `<s>`, counts towards the limits. Every part is encoded
    and decoded without special tokens, so special tokens that an answer spells out are removed. The line break is
    added for an empty answer too, as in POLAR, whose check for one compares a length with a string and never applies.
    """
    prompt = tokenizer.encode(comparison.prompt)
    reference = tokenizer.encode(comparison.reference)[:MAX_ANSWER_TOKENS]
    output = tokenizer.encode(comparison.output)[:MAX_ANSWER_TOKENS]
    prompt = prompt[-((MAX_TOKENS - len(reference) - len(output)) // 2) :]
    p, ref, out = (tokenizer.decode(ids, skip_special_tokens=True) for ids in (prompt, reference, output))
    joint = "\n" if wrapper == "sft" else ""
    return f"{p}{joint}{ref}{BETWEEN}{p}{joint}{out}{END}"
