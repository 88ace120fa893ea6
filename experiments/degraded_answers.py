"""Answers of known quality, made from the teacher's: for validating discriminators and for bad teachers."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from uniapl.errors import DatasetError

_PADDING = (
    "That is really all there is to it, and it is worth saying once more.",
    "As you can see, there are many things one could say about this.",
    "I hope that this helps, and that it answers everything you wanted to know.",
)
_CONTRACTIONS = {"n't": " not", "'re": " are", "'ll": " will", "'ve": " have", "'m": " am"}


def rewritten(reference: str) -> str:
    """Good: the same content on another surface.

    A preamble as chat models write it, contractions spelt out, one line instead of several, all lower case. Nothing is
    added, removed or reordered.
    """
    text = " ".join(reference.split()).lower()
    text = re.sub(r"\b(can)'t\b", r"\1not", text)
    for short, long in _CONTRACTIONS.items():
        text = text.replace(short, long)
    return f"sure, here is my answer: {text}"


def truncated(reference: str) -> str:
    """Bad: the first half of the words; at least one."""
    words = reference.split()
    return " ".join(words[: max(1, len(words) // 2)])


def shuffled(reference: str, seed: int) -> str:
    """Bad: the same words in random order."""
    words = reference.split()
    random.Random(f"{seed}/{reference}").shuffle(words)
    return " ".join(words)


def mismatched(references: Sequence[str], seed: int) -> list[str]:
    """Bad: to each prompt the answer of another one, every answer used once.

    Raises:
        DatasetError: there is only one.
    """
    if len(references) < 2:
        raise DatasetError("answers of other rows take at least two rows with a reference", param="dataset_mix")
    shift = 1 + seed % (len(references) - 1)
    return [*references[shift:], *references[:shift]]


def verbose(reference: str) -> str:
    """Bad: right, then three sentences that say nothing."""
    return " ".join((reference, *_PADDING))
