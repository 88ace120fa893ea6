"""Rational numbers as a text writes them: digits, ratios, repeating decimals, other bases, English words."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
"""A decimal number without its sign, with or without thousands separators."""
_NUMBER = re.compile(
    rf"([-+]?)\s*({PLAIN})(?:\s*(?:\\cdot\s*10\s*\^\s*(?:\{{\s*([-+]?\d+)\s*\}}|(\d))|[eE]([-+]?\d+)))?"
)
_RATIO = re.compile(r"([-+]?)\s*(?:(\d+)\s+(?:and\s+)?)?(\d+)\s*/\s*(\d+)")
_FRACTION = re.compile(r"([-+]?)\s*(?:(\d+)\s*(?:and\s+)?)?\\frac\{\s*([-+]?\d+)\s*\}\{\s*([-+]?\d+)\s*\}")
_REPEATING = re.compile(r"([-+]?)(\d*)\.(\d*?)(?:\\(?:overline|bar|dot)\s*\{?(\d+)\}?|\((\d+)\)|(\d+?)\6{2,}\d*\.\.\.)")
_BASE = re.compile(r"([0-9A-Fa-f]+)_\{?\s*(\d+|[a-z]+)\s*\}?")
MAX_EXPONENT = 5000
MAX_DIGITS = 4000
_ONES_TEXT = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen
"""
_WORDS = {word: i for i, word in enumerate(_ONES_TEXT.split())}
_WORDS |= {
    word: 10 * i
    for i, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2)
}
_POWERS = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALED = re.compile(rf"([-+]?\s*{PLAIN})\s*({'|'.join(_POWERS)})", re.IGNORECASE)
_SPELLED = re.compile(rf"(?:{'|'.join([*_WORDS, *_POWERS, 'and'])}|[\s-])+", re.IGNORECASE)
_NEGATIVE = re.compile(r"(?:negative|minus)\s+(?=\S)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def number(text: str) -> Fraction | None:
    """The rational number that the text writes; `None` if it writes none."""
    text = text.strip()
    text = _NEGATIVE.sub("-", text if text.endswith("..") else text.removesuffix("."), count=1)
    while len(text) > 2 and text[0] == "{" and text[-1] == "}":
        text = text[1:-1].strip()
    if len(text) > MAX_DIGITS:
        return None
    if found := _NUMBER.fullmatch(text):
        return _decimal(*found.groups())
    if (found := _SCALED.fullmatch(text)) and (plain := _NUMBER.fullmatch(found[1])):
        factor = _decimal(*plain.groups())
        return None if factor is None else factor * _POWERS[found[2].lower()]
    for pattern in (_RATIO, _FRACTION):
        if (found := pattern.fullmatch(text)) and int(found[4]):
            part = Fraction(int(found[3]), int(found[4]))
            return (-1 if found[1] == "-" else 1) * (int(found[2] or 0) + part)
    if len(text) < 100 and (found := _REPEATING.fullmatch(text)):
        return _repeating(found[1], found[2], found[3], next(filter(None, found.groups()[3:])))
    return _spelled(text)


def _decimal(sign: str, digits: str, *exponents: str | None) -> Fraction | None:
    exponent = int(next((e for e in exponents if e), "0"))
    if abs(exponent) > MAX_EXPONENT:
        return None
    plain = Fraction(digits.replace(",", "").rstrip(".") or "0")
    return (-1 if sign == "-" else 1) * plain * Fraction(10) ** exponent


def _repeating(sign: str, whole: str, fixed: str, period: str) -> Fraction:
    """The value of a decimal that ends with a repeated period."""
    nines = Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
    return (-1 if sign == "-" else 1) * (Fraction(f"{whole or 0}.{fixed or 0}") + nines)


def _spelled(text: str) -> Fraction | None:
    """The value of an English number word, such as `twenty-five`."""
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    words = re.findall(r"[a-z]+", text.casefold())
    if len(text) > 100 or not words or words[0] == "and" or not _SPELLED.fullmatch(text):
        return None
    total, group = 0, 0
    for word in words:
        if word in _WORDS:
            group += _WORDS[word]
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in _POWERS:
            total, group = total + max(group, 1) * _POWERS[word], 0
    return Fraction(sign * (total + group))


def based(text: str) -> tuple[str, Fraction] | None:
    """Digits and value of a number with its base as an index, as in `1101_2`; `None` if it is not one."""
    found = _BASE.fullmatch(text.strip())
    if found is None or len(text) > MAX_DIGITS:
        return None
    base = number(found[2])
    if base is None or not 2 <= base <= 16 or any(int(digit, 16) >= base for digit in found[1]):
        return None
    return found[1].lstrip("0"), Fraction(int(found[1], int(base)))
