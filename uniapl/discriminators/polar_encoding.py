"""POLAR's input text (arXiv:2507.05197; InternLM/POLAR at commit 80626f3).

    sft         prompt \\n reference <|reward|> prompt \\n output [UNUSED_TOKEN_130]
    pretrain    the same without the line breaks

The file knows no model: a server of POLAR wants the same text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from uniapl.discriminators.base import Comparison

BETWEEN = "<|reward|>"
"""Stands between the reference's half and the output's."""
END = "[UNUSED_TOKEN_130]"
"""The score is read at this token."""
MAX_TOKENS = 16384 - 4
"""Of both halves together, without the two tokens above and the two line breaks."""
MAX_ANSWER_TOKENS = 4096
"""Of the reference, and of the output."""


def encode(
    tokenizer: Any,  # a transformers tokenizer
    comparison: Comparison,
    wrapper: Literal["sft", "pretrain"],
) -> str:
    """The text that POLAR reads.

    Answers are cut to their first 4096 tokens. The prompt, which stands in both halves, gets half of what they leave
    and keeps its end. A tokenizer's own first token, such as `<s>`, counts towards the limits. Every part goes through
    the tokenizer and back without special tokens, so those that an answer spells out are dropped. The line break is
    there for an empty answer too: POLAR's own test for one compares a length with a string and never fires.
    """
    prompt = tokenizer.encode(comparison.prompt)
    reference = tokenizer.encode(comparison.reference)[:MAX_ANSWER_TOKENS]
    output = tokenizer.encode(comparison.output)[:MAX_ANSWER_TOKENS]
    prompt = prompt[-((MAX_TOKENS - len(reference) - len(output)) // 2) :]
    p, ref, out = (tokenizer.decode(ids, skip_special_tokens=True) for ids in (prompt, reference, output))
    joint = "\n" if wrapper == "sft" else ""
    return f"{p}{joint}{ref}{BETWEEN}{p}{joint}{out}{END}"
