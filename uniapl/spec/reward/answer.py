"""Rewards from a comparison of the final answer with a gold answer, a pattern or a length."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from uniapl.spec.base import Input, Text
from uniapl.spec.reward.pattern import Pattern


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank; write the text of the answer")
    return text


Gold = Annotated[Text, Field(max_length=10_000), AfterValidator(_not_blank)]
"""A correct answer."""
Length = Annotated[int, Field(ge=1, le=10_000_000)]


class MathReward(Input):
    r"""Mathematical equality: 1 if the final answer equals the gold answer as an examiner marks it, else 0.

    Numbers, quantities, fractions, sets, intervals, equations and expressions are compared by value, words and letters
    of multiple choice as such. The last `<answer>…</answer>` or `\boxed{…}` has precedence.
    """

    type: Literal["math"] = "math"
    answer: Gold
    r"""Gold answer as a number, LaTeX or words, such as `42`, `\frac{1}{2}`, `$x^2+1$`, `(B)` or `no solution`."""


class RegexReward(Input):
    """Regular expression: 1 if the pattern matches the answer, else 0."""

    type: Literal["regex"] = "regex"
    pattern: Pattern
    """Pattern in Python's syntax; flags are inline, as in `(?i)yes`."""
    full: bool = False
    """Whether the pattern must match the whole answer, excluding surrounding whitespace."""


class ExactMatchReward(Input):
    """Exact match: 1 if the answer equals a gold answer, else 0; runs of whitespace are equivalent to one space."""

    type: Literal["exact_match"] = "exact_match"
    answer: Annotated[
        Annotated[Gold, Tag("one")] | Annotated[list[Gold], Field(min_length=1, max_length=1000), Tag("several")],
        Discriminator(lambda answer: "several" if isinstance(answer, list) else "one"),
    ]
    """Gold answer, or a list of alternatives."""
    ignore_case: bool = False
    """Whether the comparison ignores case."""


class LengthBandReward(Input):
    """Length band: 1 if the answer's length n is within the band, else a linearly smaller reward.

    Below the band the reward is n / at_least, above it max(0, 2 − n / at_most).
    """

    type: Literal["length_band"] = "length_band"
    unit: Literal["words", "characters"] = "words"
    r"""Unit of length. A word is a run of `\w`, as in IFEval; characters exclude surrounding whitespace."""
    at_least: Length | None = None
    """Lower end of the band."""
    at_most: Length | None = None
    """Upper end of the band."""

    @model_validator(mode="after")
    def _a_band_has_a_bound(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("at_least: is missing, and so is at_most; set at least one of them")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least: {self.at_least} exceeds at_most={self.at_most}; exchange them")
        return self
