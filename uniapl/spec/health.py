"""The failure signatures that are watched for, and their thresholds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from uniapl.spec.base import Count, Input

Signature = Literal[
    "length_collapse", "reward_hacking", "instability", "entropy_collapse", "no_reward_variance", "not_finite"
]


class Health(Input):
    """When a run is said to fail in one of the known ways; each becomes an event with its evidence."""

    window: Count = 10
    """Steps over which trends and medians are taken."""
    stop_on: list[Signature] = []
    """Signatures that end the job with a checkpoint and an error. One that is not finite always does."""
    length_low: float = Field(default=0.3, gt=0, lt=1)
    """Length collapse: completions, on the window's average, are shorter than this share of the teacher's answers."""
    length_high: float = Field(default=3.0, gt=1)
    """Length collapse: or longer than this multiple of them."""
