"""Lists, sets, tuples, intervals, matrices, equations and inequalities, compared by their parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import mpmath

from uniapl.rewards.mathematics.atoms import number, same_value
from uniapl.rewards.mathematics.notation import closing
from uniapl.rewards.mathematics.symbolic import POINTS, TOLERANCE, UnknownValueError, parsed, value
from uniapl.rewards.mathematics.words import is_text, same_words

MAX_PARTS = 100
MAX_NESTING = 8
_NAME = re.compile(  # x, x_1, f(x), (x, y) or words, before an equals sign
    r"\s*((?:[A-Za-z]|\\[a-z]+)(?:_\{?\w+\}?)?'?(?:\([A-Za-z0-9, ]+\))?|\([a-z](?:\s*,\s*[a-z])+\)"
    r"|[A-Za-z][A-Za-z ]+)\s*(?:=|\\in(?![a-z])|:)(?!=)\s*"
)
_RELATION = re.compile(r"\\le(?![a-z])|\\ge(?![a-z])|<|>")
_MATRIX = re.compile(
    r"\\begin\{[a-z]*(?:matrix|array)\}(?:\{[lcr| ]*\})?(.*?)\\end\{[a-z]*(?:matrix|array)\}", re.DOTALL
)
_UNION = re.compile(r"\\cup(?![a-z])|(?<=[)\]])\s*U\s*(?=[(\[])")
_AND = re.compile(r"[,;]|\band\b|\bor\b")


@dataclass(frozen=True)
class Expression:
    """An expression as a tree of parts; a leaf has `text` only."""

    text: str
    name: str = ""
    """Variable that the expression is assigned to."""
    kind: str = "atom"
    """`atom`, `list`, `set`, `union`, `matrix`, `equation`, or the brackets of a tuple or interval, such as `(]`."""
    parts: tuple[Expression, ...] = ()


def read(text: str, depth: int = 0) -> Expression:
    """The structure of an expression with uniform spelling."""
    text = _stripped(text)
    if depth > MAX_NESTING or number(text) is not None:
        return Expression(text)
    if (named := _NAME.match(text)) and "=" not in text[named.end() :] and not _RELATION.search(text):
        return replace(read(text[named.end() :], depth + 1), name=named[1].strip())
    for reader in (_matrix, _union, _bracketed, _alternatives, _plus_minus, _inequality, _equation):
        if (found := reader(text, depth + 1)) is not None:
            return found
    return Expression(text)


def _stripped(text: str) -> str:
    text = text.strip()
    text = text if text.endswith("..") else text.removesuffix(".").strip()
    while text[:1] == "{" and closing(text, 0) == len(text) - 1 and len(text) > 2:
        text = text[1:-1].strip()
    return text.rstrip("\\").strip()


def _split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Parts of the text between separators outside of brackets; digits of one number stay together."""
    parts, start, depth, at = [], 0, 0, 0
    while at < len(text):
        depth += (text[at] in "([{") - (text[at] in ")]}")
        found = separator.match(text, at) if depth == 0 else None
        if found and not _in_number(text, at):
            parts.append(text[start:at])
            start = at = found.end()
        else:
            at += 1
    return [*parts, text[start:]]


def _in_number(text: str, at: int) -> bool:
    """Whether the comma separates thousands: `1,234` but not `1, 234`."""
    return (
        text[at] == ","
        and re.search(r"(?:^|[^\d,])\d{1,3}(?:,\d{3})*$", text[:at]) is not None
        and (re.match(r",\d{3}(?!\d)", text[at:]) is not None)
    )


def _several(kind: str, parts: list[str], depth: int, text: str) -> Expression | None:
    parts = [part for part in parts if part.strip()]
    if len(parts) > MAX_PARTS:
        return None
    return Expression(text, kind=kind, parts=tuple(read(part, depth) for part in parts))


def _matrix(text: str, depth: int) -> Expression | None:
    found = _MATRIX.fullmatch(text)
    if found is None:
        return None
    rows = [row for row in re.split(r"\\\\", found[1]) if row.strip()]
    read_rows = [_several("row", row.split("&"), depth, row) for row in rows[:MAX_PARTS]]
    return Expression(text, kind="matrix", parts=tuple(row for row in read_rows if row is not None))


def _union(text: str, depth: int) -> Expression | None:
    parts = _split(text, _UNION)
    return _several("union", parts, depth, text) if len(parts) > 1 else None


def _bracketed(text: str, depth: int) -> Expression | None:
    r"""A set `\{…\}`, or a tuple or interval."""
    if text.startswith(r"\{") and text.endswith(r"\}"):
        return _several("set", _split(text[2:-2], re.compile("[,;]")), depth, text)
    if text[:1] not in ("(", "[") or text[-1:] not in (")", "]") or _ends_early(text):
        return None
    inner = text[1:-1]
    parts = _split(inner, re.compile("[,;]"))
    if len(parts) == 1 and "," in inner and inner.count(",") == 1:  # (1,234) has two parts
        parts = inner.split(",")
    return _several(text[0] + text[-1], parts, depth, text) if len(parts) > 1 else None


def _ends_early(text: str) -> bool:
    """Whether the first bracket is closed before the end."""
    depth = 0
    for i, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if depth == 0 and i < len(text) - 1:
            return True
    return depth != 0


def _alternatives(text: str, depth: int) -> Expression | None:
    if is_text(re.sub(_AND, " ", text)):
        return None
    parts = _split(text, _AND)
    if len([part for part in parts if part.strip()]) < 2:
        return None
    found = _several("list", parts, depth, text)
    intervals = found is not None and re.search(r"\bor\b", text) and all(part.kind[0] in "([" for part in found.parts)
    return replace(found, kind="union") if found is not None and intervals else found


def _plus_minus(text: str, depth: int) -> Expression | None:
    if text.count(r"\pm") != 1:
        return None
    before, _, after = text.partition(r"\pm")
    return _several("list", [f"{before}+{after}" if before.strip() else after, f"{before}-{after}"], depth, text)


def _inequality(text: str, depth: int) -> Expression | None:
    """An interval of one variable."""
    signs = [found[0].lstrip("\\") for found in _RELATION.finditer(text)]
    sides = [side.strip() for side in _RELATION.split(text)]
    if not signs or len(signs) > 2 or "=" in text:
        return None
    above = {"<": False, "le": False, ">": True, "ge": True}
    if len({above[sign] for sign in signs}) > 1:
        return None
    if above[signs[0]]:
        sides, signs = sides[::-1], signs[::-1]
    open_signs = [sign in ("<", ">") for sign in signs]
    low, high, opening, end = r"-\infty", r"\infty", "(", ")"
    variable = re.compile(r"[A-Za-z]|\\[a-z]+")
    if len(signs) == 2 and variable.fullmatch(sides[1]):
        low, high, opening, end = sides[0], sides[2], "(["[not open_signs[0]], ")]"[not open_signs[1]]
    elif len(signs) == 1 and variable.fullmatch(sides[0]):
        high, end = sides[1], ")]"[not open_signs[0]]
    elif len(signs) == 1 and variable.fullmatch(sides[1]):
        low, opening = sides[0], "(["[not open_signs[0]]
    else:
        return None
    return _several(opening + end, [low, high], depth, text)


def _equation(text: str, depth: int) -> Expression | None:
    """An equation, or the value of a chain such as `2 + 3 = 5`."""
    sides = [side for side in text.split("=") if side.strip()]
    if len(sides) < 2:
        return None
    if re.search(r"[a-zA-Z]", re.sub(r"\\[a-z]+", "", sides[0])) is None:
        return read(sides[-1], depth) if _all_equal(sides) else Expression(text, kind="chain")
    if len(sides) > 2 and (named := _NAME.match(text)):
        return replace(read("=".join(sides[1:]), depth), name=named[1].strip())
    return Expression(text, kind="equation", parts=tuple(Expression(_stripped(side)) for side in sides[:2]))


def _all_equal(sides: list[str]) -> bool:
    return all(same_value(sides[-1].strip(), side.strip()) for side in sides[:-1])


def same(gold: Expression, answer: Expression) -> bool:
    """Whether the answer has the gold's value."""
    gold, answer = _single(gold), _single(answer)
    if len(gold.name) == 1 and len(answer.name) == 1 and gold.name != answer.name:
        return False
    equations = [_as_equation(side) for side in (gold, answer)]
    if "equation" in (gold.kind, answer.kind):
        return all(equations) and _same_equation(*equations)  # type: ignore[arg-type]
    if gold.kind == answer.kind == "atom":
        return _same_atom(gold.text, answer.text)
    if len(gold.parts) != len(answer.parts) or not gold.parts:
        return False
    if {gold.kind, answer.kind} <= {"list", "set", "union"}:
        return _unordered(gold.parts, answer.parts)
    if gold.kind == answer.kind:
        return all(map(same, gold.parts, answer.parts))
    pair = {gold.kind, answer.kind}
    if pair == {"list", "()"} and (gold.kind == "list" or all(part.name for part in answer.parts)):
        return all(map(same, gold.parts, answer.parts))
    return False


def _same_atom(gold: str, answer: str) -> bool:
    if is_text(gold) or is_text(answer):
        return same_words(gold, answer) or (not is_text(gold) and same_value(gold, answer))
    wordy = not re.search(r"\d", gold + answer) and same_words(gold, answer)
    return wordy or same_value(gold, answer)


def _single(found: Expression) -> Expression:
    """A list or set of one element as the element."""
    while found.kind in ("list", "set") and len(found.parts) == 1:
        found = replace(found.parts[0], name=found.name or found.parts[0].name)
    return found


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


def _difference(equation: tuple[str, str]) -> Callable[[float], Any] | None:
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
            ratios = [first(at) / second(at) for at in POINTS]
            return all(abs(ratio - ratios[0]) <= TOLERANCE * abs(ratios[0]) for ratio in ratios) and ratios[0] != 0
    except (UnknownValueError, ZeroDivisionError):
        return False
