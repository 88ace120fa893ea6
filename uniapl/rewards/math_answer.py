"""Mathematical equality by Math-Verify (https://github.com/huggingface/Math-Verify)."""

from __future__ import annotations

import logging

import math_verify

from uniapl.errors import RewardError
from uniapl.rewards.text_answer import is_delimited, plain_mathematics

logging.getLogger("math_verify").setLevel(
    logging.ERROR
)  # it warns that its time limit is disabled; the pool has its own


def _parsed(text: str) -> list[object]:
    """Expressions in the text, most likely first. The time limit is disabled, because it requires the main thread."""
    expressions: list[object] = math_verify.parse(text, parsing_timeout=None)
    return expressions


def is_equal(answer: str, gold: str) -> bool:
    """Whether answer and gold answer have the same mathematical value.

    Raises:
        RewardError: the gold answer cannot be parsed.
    """
    bare = plain_mathematics(gold)
    expected = _parsed(bare if is_delimited(bare) else f"${bare}$")
    if not expected:
        raise RewardError(f"the gold answer {gold!r} is not mathematics; write it as LaTeX, or use `exact_match`")
    return bool(math_verify.verify(expected, _parsed(plain_mathematics(answer)), timeout_seconds=None))
