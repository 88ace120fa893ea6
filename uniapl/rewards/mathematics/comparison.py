"""Equality of structures: part by part, with the freedom of order that each kind has."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import mpmath

from uniapl.rewards.mathematics.atoms import same_value
from uniapl.rewards.mathematics.numerals import number
from uniapl.rewards.mathematics.structure import Expression, single
from uniapl.rewards.mathematics.symbolic import POINTS, TOLERANCE, Point, UnknownValueError, parsed, value
from uniapl.rewards.mathematics.words import is_text, same_words


def same(gold: Expression, answer: Expression) -> bool:
    """Whether the answer has the gold's value."""
    gold, answer = single(gold), single(answer)
    if len(gold.name) == 1 and len(answer.name) == 1 and gold.name != answer.name:
        return False
    equations = [_as_equation(side) for side in (gold, answer)]
    if "equation" in (gold.kind, answer.kind):
        return all(equations) and _same_equation(*equations)  # type: ignore[arg-type]
    if gold.kind == answer.kind == "atom":
        return _same_atom(gold.text, answer.text)
    if (special := _same_special(gold, answer)) is not None:
        return special
    if len(gold.parts) != len(answer.parts) or not gold.parts:
        return False
    if {gold.kind, answer.kind} <= {"list", "set", "union"}:
        return _unordered(gold.parts, answer.parts)
    if gold.kind == answer.kind:
        return all(map(same, gold.parts, answer.parts))
    pair = {gold.kind, answer.kind}
    if pair == {"list", "()"} and (gold.kind == "list" or all(part.name for part in answer.parts)):
        return all(map(same, gold.parts, _by_name(answer, gold)))
    return False


def _by_name(answer: Expression, gold: Expression) -> list[Expression]:
    """Parts of the answer; in the order of their names if the gold has none: `y = 4, x = 3` is (3, 4)."""
    named = all(len(part.name) == 1 for part in answer.parts) and not any(part.name for part in gold.parts)
    return sorted(answer.parts, key=lambda part: part.name) if named else list(answer.parts)


def _same_special(gold: Expression, answer: Expression) -> bool | None:
    """Equality of residues, ratios and matrices, which have several forms; `None` for other kinds."""
    if "mod" in (gold.kind, answer.kind):
        return _same_residue(gold, answer)
    if "ratio" in (gold.kind, answer.kind):
        return _same_ratio(gold, answer)
    if gold.kind == "matrix" and answer.kind in ("[]", "()"):
        rows = [list(row.parts) for row in gold.parts]
        if all(part.kind in ("[]", "()") for part in answer.parts):
            given = [list(row.parts) for row in answer.parts]
        else:
            given = [[part] for part in answer.parts] if len(rows) > 1 else [list(answer.parts)]
        return len(rows) == len(given) and all(
            len(row) == len(other) and all(map(same, row, other)) for row, other in zip(rows, given, strict=True)
        )
    return None


def _same_residue(gold: Expression, answer: Expression) -> bool:
    """Equality modulo the gold's modulus; the answer may leave the modulus out."""
    if gold.kind != "mod":
        return same(gold, answer.parts[0])
    given = answer.parts[0] if answer.kind == "mod" else answer
    if answer.kind == "mod" and not same(gold.parts[1], answer.parts[1]):
        return False
    numbers = [number(found.text) for found in (gold.parts[0], given, gold.parts[1])]
    if None in numbers or answer.kind != "mod":
        return same(gold.parts[0], given)
    first, second, modulus = (found or 0 for found in numbers)
    return modulus != 0 and (first - second) % modulus == 0


def _same_ratio(gold: Expression, answer: Expression) -> bool:
    """Equality of ratios by value: `3:4`, `6:8` and `3/4`."""
    sides = [found.parts if found.kind == "ratio" else (found, Expression("1")) for found in (gold, answer)]
    if len(sides[0]) != len(sides[1]) or any(part.kind != "atom" for side in sides for part in side):
        return gold.text == answer.text
    texts = [[part.text for part in side] for side in sides]
    return all(
        same_value(f"({mine})\\cdot ({texts[1][0]})", f"({other})\\cdot ({texts[0][0]})")
        for mine, other in zip(*texts, strict=True)
    )


def _same_atom(gold: str, answer: str) -> bool:
    if number(gold) is not None and number(answer) is not None:
        return same_value(gold, answer)
    if is_text(gold) or is_text(answer):
        return same_words(gold, answer) or (not is_text(gold) and same_value(gold, answer))
    wordy = not re.search(r"\d", gold + answer) and same_words(gold, answer)
    return wordy or same_value(gold, answer)


def _unordered(gold: tuple[Expression, ...], answer: tuple[Expression, ...]) -> bool:
    left = list(answer)
    for part in gold:
        match = next((other for other in left if same(part, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _as_equation(found: Expression) -> tuple[str, str] | None:
    if found.kind == "equation":
        return found.parts[0].text, found.parts[1].text
    return (found.name, found.text) if found.name and found.kind == "atom" else None


def _difference(equation: tuple[str, str]) -> Callable[[Point], Any] | None:
    left, right = (parsed(side) for side in equation)
    if left is None or right is None:
        return None
    return lambda at: value(left, at) - value(right, at)


def _same_equation(gold: tuple[str, str], answer: tuple[str, str]) -> bool:
    """Whether the differences of the sides are proportional."""
    first, second = _difference(gold), _difference(answer)
    if first is None or second is None:
        return False
    try:
        with mpmath.workdps(40):
            ratios = [first(at) / second(at) for at in map(Point, POINTS)]
            return all(abs(ratio - ratios[0]) <= TOLERANCE * abs(ratios[0]) for ratio in ratios) and ratios[0] != 0
    except (UnknownValueError, ZeroDivisionError):
        return False
