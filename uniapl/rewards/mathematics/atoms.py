"""Single values: numbers, quantities with units, expressions, and their comparison."""

from __future__ import annotations

import re
from fractions import Fraction

import mpmath

from uniapl.rewards.mathematics.numerals import based, number
from uniapl.rewards.mathematics.symbolic import are_equal, constant
from uniapl.rewards.mathematics.units import Quantity, converted, quantity, same_time

ROUNDED_DIGITS = 6
"""Significant digits from which a decimal counts as the value that it rounds."""
_ROUNDED = re.compile(r"[-+]?(\d[\d,]*)?\.(\d+)(?:\s*(?:\\cdot\s*10\s*\^\s*\{?\s*([-+]?\d+)\s*\}?|[eE]([-+]?\d+)))?")
_APPROXIMATE = re.compile(r"\\approx(?![a-z])|\\simeq(?![a-z])|\\thickapprox(?![a-z])|~=|\s≈\s")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\s*\\circ")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")


def same_value(gold: str, answer: str) -> bool:
    """Whether two single values are equal: numbers exactly, quantities up to units, expressions by value."""
    if (equal := same_time(gold, answer)) is not None:
        return equal
    if (bases := _same_base(gold, answer)) is not None:
        return bases
    exact = [_in_radians(_without_approximation(text)) for text in (gold, answer)]
    if exact != [gold, answer]:
        return same_value(*exact)
    expected, given = quantity(gold), quantity(answer)
    if expected.number is not None and given.number is not None:
        return _same_quantity(expected, given)
    if expected.unit != given.unit and expected.unit and given.unit:
        return False
    if are_equal(expected.core, given.core):
        return True
    if _decimal_of(expected, given) or _decimal_of(given, expected):
        return True
    return bool(expected.unit or given.unit) and (are_equal(gold, answer) or _same_angle(expected, given))


def _same_base(gold: str, answer: str) -> bool | None:
    """Whether two numbers are equal of which one has a base; `None` if none has."""
    first, second = based(gold), based(answer)
    if first and second:
        return first[1] == second[1]
    if first:
        return first[0] == answer.strip().lstrip("0")
    return None if second is None else number(gold) == second[1]


def _without_approximation(text: str) -> str:
    r"""The exact value of `4\pi \approx 12.57`; a text that only approximates is unchanged."""
    return next((part.strip() for part in _APPROXIMATE.split(text)[:-1] if part.strip()), text)


def _in_radians(text: str) -> str:
    """The expression with degrees inside trigonometric functions as radians."""
    return _DEGREES.sub(r"(\1\\cdot \\pi /180)", text) if _TRIGONOMETRIC.search(text) else text


def _decimal_of(decimal: Quantity, exact: Quantity) -> bool:
    """Whether a decimal is the value of an irrational expression, rounded to at least `ROUNDED_DIGITS` digits."""
    places = _places(decimal.core)
    if decimal.number is None or places is None or (found := constant(exact.core)) is None:
        return False
    numerator, denominator = decimal.number.as_integer_ratio()
    with mpmath.workdps(60):
        return bool(abs(found - mpmath.mpf(numerator) / denominator) <= mpmath.mpf(10) ** -places / 2)


def _places(text: str) -> int | None:
    """Decimal places of a decimal with at least `ROUNDED_DIGITS` significant digits; `None` for another text."""
    found = _ROUNDED.fullmatch(text.strip())
    if found is None or len(((found[1] or "").replace(",", "") + found[2]).lstrip("0")) < ROUNDED_DIGITS:
        return None
    return len(found[2]) - int(found[3] or found[4] or 0)


def _same_angle(first: Quantity, second: Quantity) -> bool:
    """Whether one is in degrees and the other is its value in radians."""
    if {first.unit, second.unit} == {"degree", ""} and r"\pi" in first.core + second.core:
        radians = [f"({q.core})\\cdot \\pi /180" if q.unit == "degree" else q.core for q in (first, second)]
        return are_equal(*radians)
    return False


def _same_quantity(gold: Quantity, answer: Quantity) -> bool:
    assert gold.number is not None
    assert answer.number is not None
    if gold.unit == answer.unit:
        return _equal_numbers(gold, answer)
    if "percent" in (gold.unit, answer.unit) and {gold.unit, answer.unit} <= {"percent", ""}:
        shares = [q.number / 100 if q.unit == "percent" else q.number for q in (gold, answer) if q.number is not None]
        fraction = answer.unit == "percent" and abs(gold.number) < 1  # 0.75 is 75%, not 0.75%
        return shares[0] == shares[1] or (gold.number == answer.number and not fraction)
    if not gold.unit or not answer.unit:
        return _equal_numbers(gold, answer)
    equal = converted(gold, answer)
    return _equal_numbers(gold, answer) if equal is None else equal  # 10 apples, 10 fruits


def _equal_numbers(gold: Quantity, answer: Quantity) -> bool:
    return gold.number == answer.number or _rounds(gold, answer) or _rounds(answer, gold)


def _rounds(decimal: Quantity, exact: Quantity) -> bool:
    """Whether the decimal is the ratio, rounded to at least `ROUNDED_DIGITS` significant digits."""
    places = _places(decimal.core)
    if places is None or "." in exact.core or exact.number is None or decimal.number is None:
        return False
    return abs(decimal.number - exact.number) <= Fraction(10) ** -places / 2
