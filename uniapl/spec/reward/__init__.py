"""What a dataset row may ask to be verified, and how a job turns verdicts into rewards.

The package knows names and arguments only, so that an upload can be refused without torch; the checks themselves
are in `uniapl.rewards`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from uniapl.spec.base import Input
from uniapl.spec.reward.answer import ExactMatchReward, LengthBandReward, MathReward, RegexReward
from uniapl.spec.reward.ifeval import IFEVAL_ARGUMENTS, IfevalReward
from uniapl.spec.reward.json_schema import JsonSchemaReward
from uniapl.spec.reward.options import RewardOptions

__all__ = [
    "IFEVAL_ARGUMENTS",
    "ExactMatchReward",
    "IfevalReward",
    "JsonSchemaReward",
    "LengthBandReward",
    "MathReward",
    "RegexReward",
    "Reward",
    "RewardOptions",
    "RewardPart",
    "SingleReward",
    "WeightedSumReward",
]


def _names_its_type(reward: Any) -> Any:
    if isinstance(reward, dict) and "type" not in reward:
        raise ValueError("type: is missing; give `ifeval`, `math`, `json_schema` or another type of reward")
    return reward


SingleReward = Annotated[
    IfevalReward | MathReward | JsonSchemaReward | RegexReward | ExactMatchReward | LengthBandReward,
    Field(discriminator="type"),
    BeforeValidator(_names_its_type),
]
"""A reward that is no sum."""


class RewardPart(Input):
    """One summand of a weighted sum."""

    weight: float = Field(gt=0, le=1e6)
    """wᵢ."""
    reward: SingleReward
    """rᵢ."""


class WeightedSumReward(Input):
    """Several rewards of one answer: Σ wᵢ·rᵢ / Σ wᵢ."""

    type: Literal["weighted_sum"] = "weighted_sum"
    parts: Annotated[list[RewardPart], Field(min_length=1, max_length=32)]
    """The summands."""


Reward = Annotated[
    IfevalReward
    | MathReward
    | JsonSchemaReward
    | RegexReward
    | ExactMatchReward
    | LengthBandReward
    | WeightedSumReward,
    Field(discriminator="type"),
    BeforeValidator(_names_its_type),
]
"""Any reward a row may carry. Each is a number from 0 to 1; a blank answer earns 0, whatever is asked."""
