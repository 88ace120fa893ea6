"""Answers of known quality derived from the teacher's, for validating discriminators and for bad teachers."""

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
    """Good: the same content in another form.

    A chat model's preamble, contractions expanded, one line, lower case. No content is added, removed or reordered.
    """
    text = " ".join(reference.split()).lower()
    text = re.sub(r"\b(can)'t\b", r"\1not", text)
    for short, long in _CONTRACTIONS.items():
        text = text.replace(short, long)
    return f"sure, here is my answer: {text}"


def truncated(reference: str) -> str:
    """Bad: the first half of the words, at least one."""
    words = reference.split()
    return " ".join(words[: max(1, len(words) // 2)])


def shuffled(reference: str, seed: int) -> str:
    """Bad: the same words in random order."""
    words = reference.split()
    random.Random(f"{seed}/{reference}").shuffle(words)
    return " ".join(words)


def mismatched(references: Sequence[str], seed: int) -> list[str]:
    """Bad: each prompt gets the answer to another prompt; every answer is used once.

    Raises:
        DatasetError: there are fewer than two answers.
    """
    if len(references) < 2:
        raise DatasetError("the experiment needs at least 2 rows with a reference", param="dataset_mix")
    shift = 1 + seed % (len(references) - 1)
    return [*references[shift:], *references[:shift]]


def verbose(reference: str) -> str:
    """Bad: the answer, followed by three sentences without content."""
    return " ".join((reference, *_PADDING))
