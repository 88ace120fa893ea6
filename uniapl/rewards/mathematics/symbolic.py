"""Equality of mathematical expressions by evaluation at fixed points, in bounded time.

Math-Verify's parser (latex2sympy2_extended) reads the expressions without evaluating them. Symbolic simplification,
which may never end, is not used: two expressions are equal if their values agree to 30 digits at several points. A
value beyond `MAX_BITS`, such as a tower of powers, equals nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import mpmath
import sympy
from latex2sympy2_extended import latex2sympy

MAX_CHARACTERS = 600
"""Longest expression that is parsed."""
MAX_DEPTH = 16
"""Deepest nesting of brackets that is parsed."""
MAX_NODES = 600
"""Largest expression tree that is evaluated."""
MAX_BITS = 1_000_000
"""Largest binary exponent of a value."""
DIGITS = 40
TOLERANCE = mpmath.mpf(10) ** -30
ORDINARY_BITS = 66
"""Binary exponent above which a value is compared with more digits, up to `MAX_DIGITS`."""
MAX_DIGITS = 4000
POINTS = (0.7315829146, 2.3819472651, -1.4142857391, 5.1728394056)
"""Values of the first variable; the others have values derived from it."""

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(mpmath, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan")},
    **{name: getattr(mpmath, name) for name in ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "floor")},
    "acot": mpmath.acot,
    "log": lambda x, base=mpmath.e: mpmath.log(x) / mpmath.log(base),
    "Abs": abs,
    "ceiling": mpmath.ceil,
    "conjugate": mpmath.conj,
    "re": mpmath.re,
    "im": mpmath.im,
}
_CONSTANTS = {"i": mpmath.mpc(0, 1), "e": mpmath.e, "E": mpmath.e, "pi": mpmath.pi}


class Point(float):
    """Values of the variables, derived from this of the first one."""

    complex = False
    """Whether a part of an expression is not real here."""


class UnknownValueError(Exception):
    """The expression has no finite value that can be computed."""


@lru_cache(maxsize=1000)
def parsed(text: str) -> Any:
    """The sympy expression, not evaluated; `None` if it is not one."""
    if not is_readable(text):
        return None
    try:
        expression = latex2sympy(text)
    except Exception:  # noqa: BLE001  (the parser raises bare exceptions)
        return None
    return expression if isinstance(expression, sympy.Basic) and _is_small(expression) else None


def is_readable(text: str) -> bool:
    """Whether the parser may read the text: of limited size, brackets balanced."""
    depth, deepest = 0, 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
        if depth < 0:
            return False
    return bool(text.strip()) and depth == 0 and deepest <= MAX_DEPTH and len(text) <= MAX_CHARACTERS


def _is_small(expression: Any) -> bool:
    return all(count <= MAX_NODES for count, _ in enumerate(sympy.preorder_traversal(expression), start=1))


def are_equal(gold: str, answer: str) -> bool:
    """Whether two expressions have the same value wherever both are defined."""
    if _compact(gold) == _compact(answer):
        return True
    first, second = parsed(gold), parsed(answer)
    if first is None or second is None or isinstance(first, sympy.logic.boolalg.Boolean):
        return False
    if isinstance(second, sympy.logic.boolalg.Boolean):
        return False
    if first == second:  # as written, such as sums and integrals
        return True
    return agree(lambda at: value(first, at), lambda at: value(second, at))


def _compact(text: str) -> str:
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def agree(first: Callable[[Point], Any], second: Callable[[Point], Any]) -> bool:
    """Whether two functions have equal values at all points at which the first is defined, and at least at two.

    Points at which both are real in all parts are sufficient: the root of a negative number has several values.
    """
    pairs = []
    for at in map(Point, POINTS):
        try:
            expected = precise(first, at, DIGITS)
        except UnknownValueError:
            continue
        try:
            pairs.append((at, expected, precise(second, at, DIGITS)))
        except UnknownValueError:
            return False
    real = [pair for pair in pairs if not pair[0].complex]
    pairs = real if len(real) >= 2 else pairs
    return len(pairs) >= 2 and all(_same(first, second, pair) for pair in pairs)


def _same(first: Callable[[Point], Any], second: Callable[[Point], Any], pair: tuple[Point, Any, Any]) -> bool:
    """Whether two values at a point are equal.

    Very large and very small values are computed again, with as many digits as they have: they may be integers that
    differ by one, or the rounding errors of a zero, which shrink.
    """
    at, *values = pair
    size = max((abs(mpmath.mag(found)) for found in values if found != 0), default=0)
    digits = DIGITS + int(0.7 * size)
    if size <= ORDINARY_BITS or digits > MAX_DIGITS:
        return is_close(values[0], values[1], DIGITS)
    exact = [precise(function, at, digits) for function in (first, second)]
    exact = [mpmath.mpf(0) if abs(x) < abs(y) * TOLERANCE else x for x, y in zip(exact, values, strict=True)]
    return is_close(exact[0], exact[1], digits)


def precise(function: Callable[[Point], Any], at: Point, digits: int) -> Any:
    """The value of a function with this many digits."""
    with mpmath.workdps(digits):
        return function(at)


def is_real(found: Any) -> bool:
    """Whether a value is real, up to rounding."""
    return not isinstance(found, mpmath.mpc) or abs(found.imag) <= TOLERANCE * abs(found)


def constant(text: str) -> Any:
    """The real value of an expression without variables; `None` for another."""
    node = parsed(text)
    if node is None or getattr(node, "free_symbols", True):
        return None
    try:
        with mpmath.workdps(60):
            found = value(node, Point(POINTS[0]))
    except UnknownValueError:
        return None
    return mpmath.re(found) if is_real(found) else None


def is_close(first: Any, second: Any, digits: int) -> bool:
    """Whether two values are equal up to the rounding of the arithmetic with this many digits."""
    with mpmath.workdps(digits):
        tolerance = max(abs(first), abs(second)) * mpmath.mpf(10) ** (10 - digits)
        return bool(first == second or abs(first - second) <= tolerance)


def value(node: Any, at: Point) -> Any:
    """Value of a sympy expression, with its variables at the point.

    Raises:
        UnknownValueError: it is undefined, too large, or has a part that is not a known function.
    """
    try:
        found = _value(node, at)
    except (ArithmeticError, ValueError, TypeError, RecursionError, MemoryError, AttributeError):
        raise UnknownValueError from None
    return found


def _value(node: Any, at: Point) -> Any:
    if isinstance(node, sympy.Symbol):
        return _variable(node.name, at)
    if node in (sympy.oo, -sympy.oo, sympy.zoo, sympy.nan):
        raise UnknownValueError
    if node.is_Atom:
        return _constant(node)
    parts = [_value(part, at) for part in node.args]
    found = _bounded(_applied(node, parts))
    at.complex = at.complex or not is_real(found)
    return found


def _constant(node: Any) -> Any:
    if isinstance(node, sympy.Rational):
        return mpmath.mpf(int(node.p)) / int(node.q)
    if isinstance(node, sympy.Float):
        return mpmath.mpf(str(node))
    named = {sympy.pi: mpmath.pi, sympy.E: mpmath.e, sympy.I: mpmath.mpc(0, 1), sympy.GoldenRatio: mpmath.phi}
    if node not in named:
        raise UnknownValueError
    return +named[node]


def _applied(node: Any, parts: list[Any]) -> Any:
    name = type(node).__name__
    if name in ("Add", "Mul"):
        return sum(parts, mpmath.mpf(0)) if name == "Add" else mpmath.fprod(parts)
    if name in ("Pow", "exp"):
        return _power(*(parts if name == "Pow" else [mpmath.e, parts[0]]))
    if name in ("factorial", "binomial", "Mod", "Max", "Min"):
        return _discrete(name, parts)
    if name not in _FUNCTIONS:
        raise UnknownValueError
    if max((abs(part) for part in parts), default=0) > 10**DIGITS:
        raise UnknownValueError
    return _FUNCTIONS[name](*parts)


def _discrete(name: str, parts: list[Any]) -> Any:
    if max(abs(part) for part in parts) > 100_000:
        raise UnknownValueError
    if name == "factorial":
        return mpmath.factorial(parts[0])
    if name == "binomial":
        return mpmath.binomial(*parts)
    if name == "Mod":
        return parts[0] % parts[1]
    return max(parts) if name == "Max" else min(parts)


def _power(base: Any, exponent: Any) -> Any:
    """The power; beyond `MAX_BITS` unknown, before it is computed."""
    if base == 0:
        if not exponent.real > 0:
            raise UnknownValueError
        return mpmath.mpf(0)
    if abs(exponent) * (abs(mpmath.log(base)) + 1) > MAX_BITS:
        raise UnknownValueError
    return mpmath.power(base, exponent)


def _bounded(found: Any) -> Any:
    if not mpmath.isfinite(found) or (found != 0 and abs(mpmath.mag(found)) > 2 * MAX_BITS):
        raise UnknownValueError
    return found


def _variable(name: str, at: Point) -> Any:
    if name in _CONSTANTS:
        return +_CONSTANTS[name]
    seed = sum(ord(letter) * 31**i for i, letter in enumerate(name)) % 9973
    return mpmath.mpf(at) * (1 + mpmath.mpf(seed) / 9973) + mpmath.mpf(seed) / 7919
