"""Single values: numbers, quantities with units, texts, and their comparison."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from uniapl.rewards.mathematics.symbolic import are_equal

_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
_NUMBER = re.compile(
    rf"([-+]?)\s*({_PLAIN})(?:\s*(?:\\cdot\s*10\s*\^\s*(?:\{{\s*([-+]?\d+)\s*\}}|(\d))|[eE]([-+]?\d+)))?"
)
_RATIO = re.compile(r"([-+]?)\s*(?:(\d+)\s+)?(\d+)\s*/\s*(\d+)")
_FRACTION = re.compile(r"([-+]?)\s*(\d+)?\s*\\frac\{\s*([-+]?\d+)\s*\}\{\s*([-+]?\d+)\s*\}")
_BASE = re.compile(r"([0-9A-Fa-f]+)_\{?\s*(\d+)\s*\}?")
MAX_EXPONENT = 5000
MAX_DIGITS = 4000
ROUNDED_DIGITS = 6
"""Significant digits from which a decimal counts as the value that it rounds."""

_SCALES: dict[str, dict[str, str]] = {
    "length": {"mm": "1/1000", "cm": "1/100", "dm": "1/10", "m": "1", "km": "1000"},
    "imperial": {"in": "1", "ft": "12", "yd": "36", "mi": "63360"},
    "mass": {"mg": "1/1000", "g": "1", "kg": "1000", "t": "1000000"},
    "pounds": {"oz": "1", "lb": "16"},
    "time": {"ms": "1/1000", "s": "1", "min": "60", "h": "3600", "day": "86400"},
    "volume": {"ml": "1/1000", "cl": "1/100", "l": "1"},
    "money": {"cent": "1/100", "dollar": "1"},
    "euro": {"euro": "1"},
    "angle": {"degree": "1", "rad": "rad"},
    "share": {"percent": "1"},
}
_SAME = {
    **dict.fromkeys(("millimeter", "millimetre"), "mm"),
    **dict.fromkeys(("centimeter", "centimetre"), "cm"),
    **dict.fromkeys(("meter", "metre"), "m"),
    **dict.fromkeys(("kilometer", "kilometre"), "km"),
    **dict.fromkeys(("inch", "inche"), "in"),
    **dict.fromkeys(("foot", "feet"), "ft"),
    **dict.fromkeys(("mile",), "mi"),
    **dict.fromkeys(("yard",), "yd"),
    **dict.fromkeys(("gram",), "g"),
    **dict.fromkeys(("kilogram", "kilo"), "kg"),
    **dict.fromkeys(("pound",), "lb"),
    **dict.fromkeys(("ounce",), "oz"),
    **dict.fromkeys(("sec", "second"), "s"),
    **dict.fromkeys(("minute", "mins"), "min"),
    **dict.fromkeys(("hr", "hour"), "h"),
    **dict.fromkeys(("liter", "litre", "L"), "l"),
    **dict.fromkeys(("usd", "$", "buck"), "dollar"),
    **dict.fromkeys(("€", "eur"), "euro"),
    **dict.fromkeys(("deg", "^\\circ", "°"), "degree"),
    **dict.fromkeys(("radian",), "rad"),
    **dict.fromkeys(("%",), "percent"),
}
_KNOWN = {name: (kind, scale) for kind, names in _SCALES.items() for name, scale in names.items()}
_UNIT = re.compile(
    r"(?P<core>.*?[\d})\s.])\s*(?P<unit>%|\^\\circ\s*[CF]?|(?:(?:square|cubic)\s+)?[a-zA-Z]+"
    r"(?:\s*\^\s*\{?-?[23]\}?)?(?:\s*(?:/|\bper\b)\s*[a-zA-Z]+(?:\s*\^\s*\{?[23]\}?)?)?)\.?"
)
_COUNTED = rf"[-+]?\s*(?:{_PLAIN}(?:\s*/\s*\d+)?|\d*\\frac\{{\d+\}}\{{\d+\}})"
_THINGS = re.compile(rf"(?P<core>{_COUNTED})\s+(?P<unit>[a-zA-Z][a-zA-Z' -]{{2,60}})\.?")


@dataclass(frozen=True)
class Quantity:
    """A value and its unit."""

    core: str
    number: Fraction | None
    unit: str = ""


@cache
def number(text: str) -> Fraction | None:
    """The rational number that the text writes in digits; `None` if it writes none."""
    text = text.strip().removesuffix(".")
    while len(text) > 2 and text[0] == "{" and text[-1] == "}":
        text = text[1:-1].strip()
    if len(text) > MAX_DIGITS:
        return None
    if found := _NUMBER.fullmatch(text):
        return _decimal(*found.groups())
    for pattern in (_RATIO, _FRACTION):
        if (found := pattern.fullmatch(text)) and int(found[4]):
            part = Fraction(int(found[3]), int(found[4]))
            return (-1 if found[1] == "-" else 1) * (int(found[2] or 0) + part)
    return None


def _decimal(sign: str, digits: str, *exponents: str | None) -> Fraction | None:
    exponent = int(next((e for e in exponents if e), "0"))
    if abs(exponent) > MAX_EXPONENT:
        return None
    plain = Fraction(digits.replace(",", "").rstrip(".") or "0")
    return (-1 if sign == "-" else 1) * plain * Fraction(10) ** exponent


def quantity(text: str) -> Quantity:
    """The value and the unit of a text."""
    text = re.sub(r"^([-+]?)\s*[€£]\s*", r"\1", text.strip())
    if (plain := number(text)) is not None:
        return Quantity(text, plain)
    if (things := _THINGS.fullmatch(text)) and not re.search(r"\b(?:or|and|not|to|than)\b", things["unit"]):
        return Quantity(things["core"], number(things["core"]), _unit_name(things["unit"]))
    found = _UNIT.fullmatch(text)
    if found and (is_unit(found["unit"]) and (number(found["core"]) is not None or not _is_letter(found["unit"]))):
        return Quantity(found["core"].strip(), number(found["core"]), _unit_name(found["unit"]))
    return Quantity(text, None)


def _is_letter(unit: str) -> bool:
    return len(unit.strip()) == 1 and unit.isalpha()


def is_unit(unit: str) -> bool:
    """Whether the text is a known unit of measurement."""
    return all(
        part in _KNOWN for part in re.split(r"[/^]", _unit_name(unit)) if part and not part.lstrip("-").isdigit()
    )


def _unit_name(unit: str) -> str:
    """Canonical name of a unit: singular, abbreviated, powers with `^`."""
    unit = re.sub(r"\s*\bper\b\s*", "/", unit.strip().rstrip("."))
    unit = re.sub(r"\^\\circ\s*[CF]?", "degree", unit)
    power = {"square": "^2", "cubic": "^3"}.get(unit.split(" ")[0], "")
    unit = unit.partition(" ")[2] if power else unit
    unit = re.sub(r"[{}\s]", "", unit) + power
    return "/".join("^".join(_singular(part) for part in side.split("^")) for side in unit.split("/"))


def _singular(name: str) -> str:
    for form in (name, name.lower(), name.lower().removesuffix("s")):
        if form in _KNOWN or form in _SAME:
            return _SAME.get(form, form)
    return name.lower().removesuffix("s")


def same_value(gold: str, answer: str) -> bool:
    """Whether two single values are equal: numbers exactly, quantities up to units, expressions by value."""
    if bases := (_BASE.fullmatch(gold), _BASE.fullmatch(answer)):
        first, second = bases
        if first and second:
            return first.groups() == second.groups()
        if first:
            return first[1].lstrip("0") == answer.strip().lstrip("0")
    expected, given = quantity(gold), quantity(answer)
    if expected.number is not None and given.number is not None:
        return _same_quantity(expected, given)
    if not expected.unit and not given.unit:
        return are_equal(expected.core, given.core)
    if expected.unit != given.unit and expected.unit and given.unit:
        return False
    return are_equal(expected.core, given.core) or are_equal(gold, answer) or _same_angle(expected, given)


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
    units = {gold.unit, answer.unit}
    if "percent" in units and len(units - {"percent", ""}) == 0:
        as_share = [q.number / 100 if q.unit == "percent" else q.number for q in (gold, answer) if q.number is not None]
        return gold.number == answer.number or as_share[0] == as_share[1]
    if not gold.unit or not answer.unit:
        return _equal_numbers(gold, answer)
    return _converted(gold, answer)


def _converted(gold: Quantity, answer: Quantity) -> bool:
    """Whether two quantities in different units are equal."""
    if gold.unit not in _KNOWN and answer.unit not in _KNOWN and not {"^", "/"} & set(gold.unit + answer.unit):
        return _equal_numbers(gold, answer)  # 10 apples, 10 fruits
    (kind, scale), (other, other_scale) = (_KNOWN.get(q.unit, ("", "")) for q in (gold, answer))
    if not kind or kind != other or "rad" in (scale, other_scale):
        return False
    assert gold.number is not None
    assert answer.number is not None
    return gold.number * Fraction(scale) == answer.number * Fraction(other_scale)


def _equal_numbers(gold: Quantity, answer: Quantity) -> bool:
    if gold.number == answer.number:
        return True
    return _rounds(gold, answer) or _rounds(answer, gold)


def _rounds(decimal: Quantity, exact: Quantity) -> bool:
    """Whether the decimal is the ratio, rounded to at least `ROUNDED_DIGITS` significant digits."""
    found = re.fullmatch(r"[-+]?\d*\.(\d+)", decimal.core.strip())
    if found is None or "." in exact.core or exact.number is None or decimal.number is None:
        return False
    significant = len(decimal.core.strip().lstrip("+-0.").replace(".", ""))
    return significant >= ROUNDED_DIGITS and abs(decimal.number - exact.number) <= Fraction(1, 2 * 10 ** len(found[1]))
