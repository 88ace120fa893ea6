"""Mathematical equality of an answer and a gold answer, as a person who marks exams decides it."""

from __future__ import annotations

from functools import lru_cache

from uniapl.errors import RewardError
from uniapl.rewards.mathematics.comparison import same
from uniapl.rewards.mathematics.final import final_expressions
from uniapl.rewards.mathematics.notation import uniform, with_decimal_point
from uniapl.rewards.mathematics.numerals import number
from uniapl.rewards.mathematics.structure import Expression, read
from uniapl.rewards.mathematics.symbolic import is_readable
from uniapl.rewards.mathematics.words import choice, choices, chosen, is_text

MAX_CHARACTERS = 4000
"""Longest final expression that is judged, unless the gold answer is as long."""


def is_equal(answer: str, gold: str) -> bool:
    """Whether the final expression of an answer equals the gold answer.

    Raises:
        RewardError: the gold answer is not mathematics, so that no answer can equal it.
    """
    expected = _gold(gold)
    readings = [uniform(text) for text in final_expressions(answer) if len(text) <= max(MAX_CHARACTERS, 2 * len(gold))]
    spelled = _gold_text(gold)
    if (lettered := choice(spelled)) is not None:
        letters = [chosen(text, whole=i == 0) for i, text in enumerate(readings)]
        if found := next(filter(None, letters), None):
            return found == lettered[0]
        if not lettered[1]:
            return False
        expected = read(lettered[1])
    elif (letters_of_gold := choices(spelled)) is not None:
        return any(choices(text) == letters_of_gold for text in readings)
    if (exact := number(spelled)) is not None and exact.denominator != 1:
        readings += [with_decimal_point(text) for text in readings[:1]]
    return any(same(expected, read(text)) for text in readings)


def _gold_text(gold: str) -> str:
    """The gold answer in uniform spelling, without sentence or box around it."""
    if any(mark in gold for mark in (r"\boxed", "<answer>", "####")):
        return uniform("".join(final_expressions(gold)[:1]))
    return uniform(gold)


@lru_cache(maxsize=1000)
def _gold(gold: str) -> Expression:
    """The gold answer's structure.

    Raises:
        RewardError: a part of it cannot be read.
    """
    text = _gold_text(gold)
    found = read(text)
    if not text.strip() or not _is_judged(found):
        raise RewardError(f"the gold answer {gold!r:.200} is not mathematics; write it as LaTeX, or use `exact_match`")
    return found


def _is_judged(found: Expression) -> bool:
    """Whether an answer can equal the expression."""
    if found.parts:
        parts = [part for part in found.parts if part.text != "..."]
        return bool(parts) and all(map(_is_judged, parts))
    if found.kind != "atom" or not any(sign.isalnum() for sign in found.text):
        return found.text == r"\{\}"
    return is_text(found.text) or number(found.text) is not None or is_readable(found.text)
