"""FLOP arithmetic of a training step, and peak rates of GPUs, for the model FLOP utilisation (MFU)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uniapl.estimate.model_shape import ModelShape

PEAKS = {"H200": 989.5e12, "H100": 989.5e12, "GH200": 989.5e12, "A100": 312e12, "4090": 165.2e12, "L40S": 362e12}
"""Dense bfloat16 FLOP/s with float32 accumulation, by a part of the card's name (vendor's data sheets)."""
PASSES = 3
"""A backward pass computes two products for each of the forward."""


@dataclass(frozen=True)
class Group:
    """One prompt with its completions, in tokens."""

    prompt: int
    completions: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Distinct tokens: the prompt counts once."""
        return self.prompt + sum(self.completions)

    @property
    def pairs(self) -> int:
        """Pairs of a query and a key that it attends to."""
        branches = sum(c * self.prompt + c * (c + 1) // 2 for c in self.completions)
        return self.prompt * (self.prompt + 1) // 2 + branches


def useful(shape: ModelShape, groups: Sequence[Group]) -> int:
    """FLOP of a forward and backward pass without recomputation and without repeated prompts.

    Products of the layers for each distinct token, the head for each completion token, and attention for each pair.
    """
    tokens = sum(group.tokens for group in groups)
    predicted = sum(sum(group.completions) for group in groups)
    pairs = sum(group.pairs for group in groups)
    layers = 2 * tokens * _product_weights(shape)
    head = 2 * predicted * shape.vocab * shape.hidden
    attention = 4 * pairs * shape.queries * shape.layers
    return PASSES * (layers + head + attention)


def _product_weights(shape: ModelShape) -> int:
    """Weights of the layers that take part in matrix products."""
    attention = 2 * shape.hidden * (shape.queries + shape.keys)
    return shape.layers * (attention + 3 * shape.hidden * shape.intermediate)


def peak_rate(card: str) -> float | None:
    """Peak FLOP/s of a card by its name; `None` for an unknown card."""
    matches = [name for name in PEAKS if name in card]
    return PEAKS[max(matches, key=len)] if matches else None


def mfu(flop: float, seconds: float, card: str) -> float | None:
    """Share of the card's peak rate; `None` for an unknown card."""
    rate = peak_rate(card)
    return None if rate is None else flop / seconds / rate
