"""Rewards that compare the final answer with a gold answer, a pattern or a length."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from uniapl.spec.base import Input, Text
from uniapl.spec.reward.pattern import Pattern


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank, and a blank answer earns nothing; give the answer's text")
    return text


Gold = Annotated[Text, Field(max_length=10_000), AfterValidator(_not_blank)]
"""An answer known to be right."""
Length = Annotated[int, Field(ge=1, le=10_000_000)]


class MathReward(Input):
    r"""Mathematical equality: 1 if the answer's last expression equals the gold one, else 0.

    Numbers, fractions, sets, intervals, equations and algebraic expressions are compared by value, as Math-Verify
    does; the expression in the answer's `\boxed{…}` comes first.
    """

    type: Literal["math"] = "math"
    answer: Gold
    r"""A number or LaTeX, such as `42`, `\frac{1}{2}` or `$x^2+1$`."""


class RegexReward(Input):
    """1 if the pattern is found in the answer, else 0."""

    type: Literal["regex"] = "regex"
    pattern: Pattern
    """Python's syntax; flags go inside, as in `(?i)yes`."""
    full: bool = False
    """Whether the pattern must match the whole answer, surrounding whitespace apart."""


class ExactMatchReward(Input):
    """1 if the answer is one of the given texts, else 0; each run of whitespace counts as one space."""

    type: Literal["exact_match"] = "exact_match"
    answer: Annotated[
        Annotated[Gold, Tag("one")] | Annotated[list[Gold], Field(min_length=1, max_length=1000), Tag("several")],
        Discriminator(lambda answer: "several" if isinstance(answer, list) else "one"),
    ]
    """The right answer, or several."""
    ignore_case: bool = False
    """Whether upper and lower case count as the same."""


class LengthBandReward(Input):
    """1 while the answer's length n is within the band; outside it falls linearly, to 0 at none and at twice the most.

    Below the band the reward is n / at_least, above it max(0, 2 − n / at_most).
    """

    type: Literal["length_band"] = "length_band"
    unit: Literal["words", "characters"] = "words"
    r"""A word is a run of `\w`, as in IFEval; characters are counted without surrounding whitespace."""
    at_least: Length | None = None
    """Shortest length that earns everything."""
    at_most: Length | None = None
    """Longest length that earns everything."""

    @model_validator(mode="after")
    def _a_band_has_a_bound(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("at_least: give it, or at_most, or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("at_least: is larger than at_most; exchange them")
        return self
