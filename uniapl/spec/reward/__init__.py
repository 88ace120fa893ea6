"""Verifiable rewards of dataset rows: types and arguments.

The package contains only the schema, so that uploads are validated without torch; the checks are in `uniapl.rewards`.
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
        raise ValueError("type: is missing; set it to `ifeval`, `math`, `json_schema` or another reward type")
    return reward


SingleReward = Annotated[
    IfevalReward | MathReward | JsonSchemaReward | RegexReward | ExactMatchReward | LengthBandReward,
    Field(discriminator="type"),
    BeforeValidator(_names_its_type),
]
"""Any reward except a weighted sum."""


class RewardPart(Input):
    """One term of a weighted sum."""

    weight: float = Field(gt=0, le=1e6)
    """Weight wᵢ."""
    reward: SingleReward
    """Reward rᵢ."""


class WeightedSumReward(Input):
    """Weighted mean of several rewards: Σ wᵢ·rᵢ / Σ wᵢ."""

    type: Literal["weighted_sum"] = "weighted_sum"
    parts: Annotated[list[RewardPart], Field(min_length=1, max_length=32)]
    """Terms of the sum."""


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
"""Any reward of a row, in [0, 1]; the reward of a blank answer is 0 for every type."""
