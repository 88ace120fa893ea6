"""Units of measurement, currencies and times of day, and what follows a number in an answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from uniapl.rewards.mathematics.numerals import PLAIN, number

_SCALES: dict[str, dict[str, str]] = {
    "length": {"mm": "1/1000", "cm": "1/100", "dm": "1/10", "m": "1", "km": "1000"},
    "imperial": {"in": "1", "ft": "12", "yd": "36", "mi": "63360"},
    "mass": {"mg": "1/1000", "g": "1", "kg": "1000", "t": "1000000"},
    "pounds": {"oz": "1", "lb": "16"},
    "time": {"ms": "1/1000", "s": "1", "min": "60", "h": "3600", "day": "86400", "week": "604800"},
    "volume": {"ml": "1/1000", "cl": "1/100", "l": "1"},
    "money": {"cent": "1/100", "dollar": "1"},
    "angle": {"degree": "1", "rad": "rad"},
    "share": {"percent": "1"},
    "force": {"N": "1", "kN": "1000"},
    "energy": {"J": "1", "kJ": "1000", "MJ": "1000000"},
    "power": {"W": "1", "kW": "1000"},
    "voltage": {"V": "1", "kV": "1000"},
    "frequency": {"Hz": "1", "kHz": "1000"},
    "pressure": {"Pa": "1", "kPa": "1000"},
    **{name: {name: "1"} for name in ("euro", "pound sterling", "rupee", "yen", "K", "eV", "mol", "cal", "kcal", "A")},
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
    **dict.fromkeys(("£", "gbp"), "pound sterling"),
    **dict.fromkeys(("₹", "inr", "rs"), "rupee"),
    **dict.fromkeys(("¥", "jpy", "cny", "rmb"), "yen"),
    **dict.fromkeys(("¢",), "cent"),
    **dict.fromkeys(("deg", "^\\circ", "°"), "degree"),
    **dict.fromkeys(("radian",), "rad"),
    **dict.fromkeys(("%",), "percent"),
    "newton": "N",
    "joule": "J",
    "watt": "W",
    "volt": "V",
    "hertz": "Hz",
    "pascal": "Pa",
    "mph": "mi/h",
    "kph": "km/h",
    "kmh": "km/h",
}
_KNOWN = {name: (kind, scale) for kind, names in _SCALES.items() for name, scale in names.items()}
_SYMBOL = re.compile(r"([-+]?)\s*(?:[€£₹¥]|USD|EUR|GBP|INR|JPY|CNY|RMB|Rs\.?)\s*(?=[-+]?[\d.])")
_UNIT = re.compile(
    r"(?P<core>.*?[\d})\s.])\s*(?P<unit>%|[€£₹¥¢]|\^\\circ\s*[CF]?|(?:(?:square|cubic|sq\.?)\s+)?[a-zA-Z]+"
    r"(?:\s*\^\s*\{?-?[23]\}?)?(?:\s*(?:/|\bper\b)\s*[a-zA-Z]+(?:\s*\^\s*\{?[23]\}?)?)?)\.?"
)
_COUNTED = rf"[-+]?\s*(?:{PLAIN}(?:\s*/\s*\d+)?|\d*\\frac\{{\d+\}}\{{\d+\}})"
_THINGS = re.compile(rf"(?P<core>{_COUNTED})\s+(?P<unit>[a-zA-Z][a-zA-Z' -]{{2,60}})\.?")
_SPELLED_THINGS = re.compile(r"(?P<core>[a-zA-Z]+(?:-[a-z]+)?)\s+(?P<unit>[a-zA-Z]{3,30})\.?")
_UNITS = re.compile(r"(?<=[\w})\s])\s*(?:(?:square|cubic|sq\.?|cu\.?)\s+)?units?\s*(?:\^\s*\{?[23]\}?)?\.?$")
"""The word `units`, which names none."""
_COUNTER = re.compile(r"(?<=[\d}%])\s*[\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7af]{1,6}\.?$")
"""A Chinese or Japanese counter or unit."""
_COMPOUND = re.compile(rf"{PLAIN}\s*[a-zA-Z]+\.?(?:\s*(?:,|and|,\s*and)?\s*{PLAIN}\s*[a-zA-Z]+\.?)+")
_TIME = re.compile(r"(\d{1,2}:\d{2})(?::00)?\s*(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)


@dataclass(frozen=True)
class Quantity:
    """A value and its unit."""

    core: str
    number: Fraction | None
    unit: str = ""


def quantity(text: str) -> Quantity:
    """The value and the unit of a text."""
    text = _COUNTER.sub("", _UNITS.sub("", _SYMBOL.sub(r"\1", text.strip(), count=1)))
    if (plain := number(text)) is not None:
        return Quantity(text, plain)
    if (summed := _compound(text)) is not None:
        return summed
    for pattern in (_THINGS, _SPELLED_THINGS):
        things = pattern.fullmatch(text)
        if things and number(things["core"]) is not None and not re.search(_NO_UNIT, things["unit"]):
            return Quantity(things["core"], number(things["core"]), unit_name(things["unit"]))
    found = _UNIT.fullmatch(text)
    if found and (is_unit(found["unit"]) and (number(found["core"]) is not None or not _is_letter(found["unit"]))):
        return Quantity(found["core"].strip(), number(found["core"]), unit_name(found["unit"]))
    return Quantity(text, None)


_NO_UNIT = r"\b(?:or|and|not|to|than)\b"


def _compound(text: str) -> Quantity | None:
    """The sum of quantities of one kind, such as `1 hour 30 minutes`; `None` if it is not one."""
    if not _COMPOUND.fullmatch(text.strip()):
        return None
    parts = re.findall(rf"({PLAIN})\s*([a-zA-Z]+)", re.sub(r"\band\b", " ", text))
    units = [unit_name(unit) for _, unit in parts]
    if len({_KNOWN.get(unit, (unit,))[0] for unit in units}) > 1 or units[0] not in _KNOWN:
        return None
    sizes = [Fraction(_KNOWN[unit][1]) for unit in units]
    if sizes != sorted(set(sizes), reverse=True):
        return None
    total = sum((number(value) or 0) * size for (value, _), size in zip(parts, sizes, strict=True)) / sizes[-1]
    return Quantity(str(total), Fraction(total), units[-1])


def is_compound(text: str) -> bool:
    """Whether the text is a sum of quantities, such as `1 hour and 30 minutes`."""
    return _compound(text) is not None


def is_time(text: str) -> bool:
    """Whether the text is a time of day, such as `5:30 p.m.`."""
    return _TIME.fullmatch(text.strip()) is not None


def same_time(gold: str, answer: str) -> bool | None:
    """Whether two times of day are equal, where one may lack `a.m.` or `p.m.`; `None` if one is no time."""
    found = [_TIME.fullmatch(text.strip()) for text in (gold, answer)]
    if found[0] is None or found[1] is None:
        return None
    halves = {(match[2] or "").lower() for match in found if match} - {""}
    return found[0][1].lstrip("0") == found[1][1].lstrip("0") and len(halves) < 2


def _is_letter(unit: str) -> bool:
    return len(unit.strip()) == 1 and unit.isalpha()


def is_unit(unit: str) -> bool:
    """Whether the text is a known unit of measurement."""
    return all(part in _KNOWN for part in re.split(r"[/^]", unit_name(unit)) if part and not part.lstrip("-").isdigit())


def unit_name(unit: str) -> str:
    """Canonical name of a unit: singular, abbreviated, powers with `^`."""
    unit = re.sub(r"\s*\bper\b\s*", "/", unit.strip().rstrip("."))
    unit = re.sub(r"\^\\circ\s*[CF]?", "degree", unit)
    power = {"square": "^2", "sq": "^2", "sq.": "^2", "cubic": "^3"}.get(unit.split(" ")[0], "")
    unit = unit.partition(" ")[2] if power else unit
    unit = re.sub(r"[{}\s]", "", unit) + power
    return "/".join("^".join(_singular(part) for part in side.split("^")) for side in unit.split("/"))


def _singular(name: str) -> str:
    for form in (name, name.removesuffix("s"), name.lower(), name.lower().removesuffix("s")):
        if form in _KNOWN or form in _SAME:
            return _SAME.get(form, form)
    return name.lower().removesuffix("s")


def converted(gold: Quantity, answer: Quantity) -> bool | None:
    """Whether two quantities in different known units are equal; `None` if neither unit is known."""
    if gold.unit not in _KNOWN and answer.unit not in _KNOWN and not {"^", "/"} & set(gold.unit + answer.unit):
        return None
    (kind, scale), (other, other_scale) = (_KNOWN.get(q.unit, ("", "")) for q in (gold, answer))
    if not kind or kind != other or "rad" in (scale, other_scale) or gold.number is None or answer.number is None:
        return False
    return gold.number * Fraction(scale) == answer.number * Fraction(other_scale)
