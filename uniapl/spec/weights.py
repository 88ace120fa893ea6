"""Loss weights alpha and lambda_adv: constants, schedules and stages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from uniapl.spec.base import Count, Input

NonNegative = Annotated[float, Field(ge=0)]


class Linear(Input):
    """Linear change from `start` to `end`, then constant."""

    type: Literal["linear"] = "linear"
    start: NonNegative
    """Weight of the first step."""
    end: NonNegative
    """Weight after `steps`."""
    steps: Count
    """Number of steps of the change."""


class Cosine(Input):
    """Half-cosine change from `start` to `end`, then constant; CHORD-mu uses 0.9 to 0.05 (arXiv:2508.11408)."""

    type: Literal["cosine"] = "cosine"
    start: NonNegative
    """Weight of the first step."""
    end: NonNegative
    """Weight after `steps`."""
    steps: Count
    """Number of steps of the change."""


class Warmup(Input):
    """Linear rise to `value`, then constant. The first step has a positive weight, so the term is never inactive."""

    type: Literal["warmup"] = "warmup"
    value: NonNegative
    """Weight after `steps`."""
    steps: Count
    """Number of steps of the rise."""


def _is_number(value: Any) -> str:
    return "schedule" if isinstance(value, (dict, Linear, Cosine, Warmup)) else "number"


_Schedule = Annotated[Linear | Cosine | Warmup, Field(discriminator="type")]
Weight = Annotated[
    Annotated[NonNegative, Tag("number")] | Annotated[_Schedule, Tag("schedule")], Discriminator(_is_number)
]
"""A constant, or a schedule over steps."""
Alpha = Annotated[
    Annotated[float, Field(ge=0, le=1), Tag("number")] | Annotated[_Schedule, Tag("schedule")],
    Discriminator(_is_number),
]
"""A `Weight` of at most 1; `JobSpec` checks the bound for schedules."""


def value_at(weight: Weight, step: int) -> float:
    """The weight at `step`, counted from 0."""
    match weight:
        case Linear(start=start, end=end, steps=steps):
            return start + (end - start) * min(step / steps, 1.0)
        case Cosine(start=start, end=end, steps=steps):
            return end + (start - end) * (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2
        case Warmup(value=value, steps=steps):
            return value * min((step + 1) / (steps + 1), 1.0)
        case _:
            return float(weight)


def bounds(weight: Weight) -> tuple[float, float]:
    """Minimum and maximum over all steps."""
    match weight:
        case Linear(start=start, end=end) | Cosine(start=start, end=end):
            return min(start, end), max(start, end)
        case Warmup(value=value, steps=steps):
            return value / (steps + 1), value
        case _:
            return float(weight), float(weight)


def format_weight(weight: Weight) -> str:
    """Short text for messages and tables: `0.3`, or `cosine 0.9→0.05`."""
    match weight:
        case Linear(start=start, end=end) | Cosine(start=start, end=end):
            return f"{weight.type} {start:g}→{end:g}"
        case Warmup(value=value):
            return f"warmup 0→{value:g}"
        case _:
            return f"{weight:g}"


class Stage(Input):
    """A part of the run with its own weights, such as SFT before GRPO."""

    steps: Count
    """Policy updates of this stage."""
    alpha: Alpha
    """As the job's `alpha`; a schedule counts from the stage's first step."""
    lambda_adv: Weight = 0.0
    """As the job's `lambda_adv`; a schedule counts from the stage's first step."""


@dataclass(frozen=True)
class Weights:
    """The weights of one step: `L = alpha·L_SFT + (1 - alpha)·L_GRPO + lambda_adv·L_ADV`."""

    alpha: float
    lambda_adv: float

    def times(self, factor: float) -> Weights:
        """The same weights with lambda_adv multiplied by `factor`."""
        return Weights(self.alpha, self.lambda_adv * factor)
