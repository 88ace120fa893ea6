"""Lists, sets, tuples, intervals, ratios, matrices, equations and inequalities as trees of parts."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise

from uniapl.rewards.mathematics.atoms import same_value
from uniapl.rewards.mathematics.notation import closing
from uniapl.rewards.mathematics.numerals import number
from uniapl.rewards.mathematics.symbolic import constant
from uniapl.rewards.mathematics.units import is_compound, is_time
from uniapl.rewards.mathematics.words import is_text, plain_words

MAX_PARTS = 100
MAX_NESTING = 8
_NAME = re.compile(  # x, x_1, f(x), (x, y) or words, before an equals sign
    r"\s*((?:[A-Za-z]|\\(?!sum|prod|lim|int)[a-z]+)(?:_\{?\w+\}?)?'?(?:\([A-Za-z0-9, ]+\))?|\([a-z](?:\s*,\s*[a-z])+\)"
    r"|\\(?:angle|overline|triangle)\s*\{?[A-Z]+\}?"
    r"|[A-Za-z][A-Za-z ]+)\s*(?:=|\\in(?![a-z])|:)(?!=)\s*"
)
_RELATION = re.compile(r"\\le(?![a-z])|\\ge(?![a-z])|<|>")
_MATRIX = re.compile(
    r"\\begin\{[a-z]*(?:matrix|array)\}(?:\{[lcr| ]*\})?(.*?)\\end\{[a-z]*(?:matrix|array)\}", re.DOTALL
)
_UNION = re.compile(r"\\cup(?![a-z])|(?<=[)\]])\s*U\s*(?=[(\[])")
_AND = re.compile(r"[,;]|\band\b|\bor\b")
_EQUALS = re.compile("=")
_VARIABLE = re.compile(r"[A-Za-z]|\\[a-z]+")
_ABSOLUTE = re.compile(r"\|\s*([A-Za-z])\s*\|")
_SET_OF = re.compile(r"\\\{\s*(?:[A-Za-z]|\\[a-z]+)(?:\s*\\in(?![a-z])[^|:]*)?\s*[|:]\s*(.+)\\\}")
_EXCLUDED = re.compile(
    r"(?:[A-Za-z]\s*\\neq?(?![a-z])|(?:\\mathbb\{R\}|R)\s*(?:\\setminus(?![a-z])|\\|-)\s*\\\{)\s*(.+?)(?:\\\})?"
)
_MODULAR = re.compile(r"(?:.*\\equiv(?![a-z]))?(.+?)\s*\\mod\s+(\w+)", re.DOTALL)
_RATIO = re.compile(r"[^:]+(?:(?::|\s+to\s+)[^:]+)+")
_ALL_REAL = "all real numbers"


@dataclass(frozen=True)
class Expression:
    """An expression as a tree of parts; a leaf has `text` only."""

    text: str
    name: str = ""
    """Variable that the expression is assigned to."""
    kind: str = "atom"
    """`atom`, `list`, `set`, `union`, `ratio`, `mod`, `matrix`, `row`, `equation`, `chain`, or the brackets of a tuple
    or interval, such as `(]`."""
    parts: tuple[Expression, ...] = ()


def single(found: Expression) -> Expression:
    """A list or set of one element as the element."""
    while found.kind in ("list", "set") and len(found.parts) == 1:
        found = replace(found.parts[0], name=found.name or found.parts[0].name)
    return found


def read(text: str, depth: int = 0) -> Expression:
    """The structure of an expression with uniform spelling."""
    text = _stripped(text)
    text = r"\emptyset" if text == r"\{\}" else text
    if depth > MAX_NESTING or number(text) is not None or is_compound(text):
        return Expression(text)
    if (named := _NAME.match(text)) and len(_split(text[named.end() :], _EQUALS)) == 1 and not _RELATION.search(text):
        return replace(read(text[named.end() :], depth + 1), name=named[1].strip())
    for reader in _READERS:
        if (found := reader(text, depth + 1)) is not None:
            return found
    return Expression(text)


def _all_real(text: str, depth: int) -> Expression | None:
    if plain_words(text) != _ALL_REAL:
        return None
    return _several("()", [r"-\infty", r"\infty"], depth, text)


def _modular(text: str, depth: int) -> Expression | None:
    """A residue with its modulus."""
    found = _MODULAR.fullmatch(text)
    return _several("mod", [found[1], found[2]], depth, text) if found else None


def _excluded(text: str, depth: int) -> Expression | None:
    r"""The real numbers without some, written `x \ne 2` or `\mathbb{R} \setminus \{2\}`."""
    found = _EXCLUDED.fullmatch(text)
    if found is None:
        return None
    left_out = [read(found[1], depth)] if not (several := _alternatives(found[1], depth)) else list(several.parts)
    values = {part.text: constant(part.text) for part in left_out}
    if None in values.values():
        return None
    ends = [r"-\infty", *sorted(values, key=lambda end: values[end]), r"\infty"]
    return _several("union", [f"({low},{high})" for low, high in pairwise(ends)], depth, text)


def _set_of(text: str, depth: int) -> Expression | None:
    """The interval that a condition in braces describes."""
    found = _SET_OF.fullmatch(text)
    inner = read(found[1], depth) if found else None
    return inner if inner is not None and (inner.kind == "union" or inner.kind[0] in "([") else None


def _ratio(text: str, depth: int) -> Expression | None:
    """A ratio such as `3:4` or `3 to 4`."""
    if not _RATIO.fullmatch(text) or is_time(text) or not re.match(r"[\d\\(A-Za-z]", text):
        return None
    parts = re.split(r":|\s+to\s+", text)
    if any(is_text(part) or _EQUALS.search(part) or "," in part for part in parts):
        return None
    return _several("ratio", parts, depth, text)


def _stripped(text: str) -> str:
    text = text.strip()
    text = text if text.endswith("..") else text.removesuffix(".").strip().rstrip(",;").strip()
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
    found = [read(part, depth) for part in parts]
    if kind in ("list", "set"):
        found = [each for part in found for each in (part.parts if _is_plus_minus(part) else (part,))]
    return Expression(text, kind=kind, parts=tuple(found))


def _is_plus_minus(found: Expression) -> bool:
    return found.kind == "list" and r"\pm" in found.text and len(found.parts) == 2


def _matrix(text: str, depth: int) -> Expression | None:
    """A matrix, with the factor before it multiplied in."""
    bare = text[1:-1].strip() if text[:1] in ("(", "[") and not _ends_early(text) else text
    factor, begin, rest = bare.partition(r"\begin")
    factor = re.sub(r"\\cdot\s*$", "", factor).strip()
    found = _MATRIX.fullmatch((begin + rest).strip())
    if found is None or "=" in factor:
        return None
    rows = [row.split("&") for row in re.split(r"\\\\", found[1]) if row.strip()]
    rows = [[f"({factor})\\cdot ({entry})" if factor else entry for entry in row] for row in rows]
    read_rows = [_several("row", row, depth, "&".join(row)) for row in rows[:MAX_PARTS]]
    return Expression(text, kind="matrix", parts=tuple(row for row in read_rows if row is not None))


def _union(text: str, depth: int) -> Expression | None:
    parts = _split(text, _UNION)
    found = _several("union", parts, depth, text) if len(parts) > 1 else None
    if found is None or any(part.kind != "set" for part in found.parts):
        return found
    elements = {element.text: element for part in found.parts for element in part.parts}
    return replace(found, kind="set", parts=tuple(elements.values()))


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
    if len(signs) == 1 and above[signs[0]] is False and (inside := _ABSOLUTE.fullmatch(sides[0])):
        sides, signs = [f"-({sides[1]})", inside[1], sides[1]], signs * 2
    open_signs = [sign in ("<", ">") for sign in signs]
    low, high, opening, end = r"-\infty", r"\infty", "(", ")"
    if len(signs) == 2 and _VARIABLE.fullmatch(sides[1]):
        low, high, opening, end = sides[0], sides[2], "(["[not open_signs[0]], ")]"[not open_signs[1]]
    elif len(signs) == 1 and _VARIABLE.fullmatch(sides[0]):
        high, end = sides[1], ")]"[not open_signs[0]]
    elif len(signs) == 1 and _VARIABLE.fullmatch(sides[1]):
        low, opening = sides[0], "(["[not open_signs[0]]
    else:
        return None
    return _several(opening + end, [low, high], depth, text)


def _equation(text: str, depth: int) -> Expression | None:
    """An equation, or the value of a chain such as `2 + 3 = 5`."""
    sides = [side for side in _split(text, _EQUALS) if side.strip()]
    if len(sides) < 2:
        return read(sides[0], depth) if sides and text.startswith("=") else None
    if len(sides) == 2 and _VARIABLE.fullmatch(sides[1].strip()) and not _VARIABLE.fullmatch(sides[0].strip()):
        sides = sides[::-1]  # 5 = x
        if number(sides[1].strip()) is not None:
            return replace(read(sides[1], depth), name=sides[0].strip())
    if re.search(r"[a-zA-Z]", re.sub(r"\\[a-z]+", "", sides[0])) is None:
        return read(sides[-1], depth) if _all_equal(sides) else Expression(text, kind="chain")
    if len(sides) > 2 and (named := _NAME.match(text)):
        return replace(read("=".join(sides[1:]), depth), name=named[1].strip())
    return Expression(text, kind="equation", parts=tuple(Expression(_stripped(side)) for side in sides[:2]))


def _all_equal(sides: list[str]) -> bool:
    return all(same_value(sides[-1].strip(), side.strip()) for side in sides[:-1])


_READERS = (
    *(_all_real, _modular, _matrix, _set_of, _excluded, _union, _bracketed, _alternatives, _plus_minus, _inequality),
    *(_equation, _ratio),
)
