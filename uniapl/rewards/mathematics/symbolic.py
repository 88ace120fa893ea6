"""Equality of mathematical expressions by evaluation at fixed points, in bounded time.

Math-Verify's parser (latex2sympy2_extended) reads the expressions without evaluating them. Symbolic simplification,
which may never end, is not used: two expressions are equal if their values agree to 30 digits at several points. A
value beyond `MAX_BITS`, such as a tower of powers, equals nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import sympy
from latex2sympy2_extended import latex2sympy

MAX_CHARACTERS = 600
"""Longest expression that is parsed."""
MAX_DEPTH = 25
"""Deepest nesting of brackets that is parsed."""
MAX_NODES = 600
"""Largest expression tree that is evaluated."""
MAX_BITS = 1_000_000
"""Largest binary exponent of a value."""
DIGITS = 40
TOLERANCE = mpmath.mpf(10) ** -30
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


class UnknownValueError(Exception):
    """The expression has no finite value that can be computed."""


@cache
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
    return agree(lambda at: value(first, at), lambda at: value(second, at))


def _compact(text: str) -> str:
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def agree(first: Callable[[float], Any], second: Callable[[float], Any]) -> bool:
    """Whether two functions have equal values at all points at which the first is defined, and at least at two."""
    compared = 0
    with mpmath.workdps(DIGITS):
        for at in POINTS:
            try:
                expected = first(at)
            except UnknownValueError:
                continue
            try:
                if not is_close(expected, second(at)):
                    return False
            except UnknownValueError:
                return False
            compared += 1
    return compared >= 2


def is_close(first: Any, second: Any) -> bool:
    """Whether two values are equal up to the rounding of the arithmetic."""
    scale = max(abs(first), abs(second))
    return bool(first == second or abs(first - second) <= TOLERANCE * max(scale, TOLERANCE))


def value(node: Any, at: float) -> Any:
    """Value of a sympy expression, with its variables at the point.

    Raises:
        UnknownValueError: it is undefined, too large, or has a part that is not a known function.
    """
    try:
        found = _value(node, at)
    except (ArithmeticError, ValueError, TypeError, RecursionError, MemoryError, AttributeError):
        raise UnknownValueError from None
    return found


def _value(node: Any, at: float) -> Any:
    if isinstance(node, sympy.Symbol):
        return _variable(node.name, at)
    if node in (sympy.oo, -sympy.oo, sympy.zoo, sympy.nan):
        raise UnknownValueError
    if node.is_Atom:
        return _constant(node)
    parts = [_value(part, at) for part in node.args]
    return _bounded(_applied(node, parts))


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


def _variable(name: str, at: float) -> Any:
    if name in _CONSTANTS:
        return +_CONSTANTS[name]
    seed = sum(ord(letter) * 31**i for i, letter in enumerate(name)) % 9973
    return mpmath.mpf(at) * (1 + mpmath.mpf(seed) / 9973) + mpmath.mpf(seed) / 7919
