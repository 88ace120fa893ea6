"""How rewards are computed, and how verdicts become one number."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from uniapl.spec.base import Input


class RewardOptions(Input):
    """How rewards are computed, and how verdicts become one number."""

    aggregate: Literal["fraction", "strict"] = "fraction"
    """Of a row's several constraints: the `fraction` followed (IF-RLVR), or `strict`: 1 if all are, else 0."""
    loose: bool = False
    """IFEval's lenient reading: a constraint counts as followed if it is after dropping the first line, the last line,
    or asterisks, in any combination."""
    discriminator_weight: float = Field(default=0.0, ge=0)
    """Weight of the scaled discriminator score added to each reward inside L_GRPO. Not UniAPL: the control in which
    the discriminator is a reward instead of a term of its own."""
    processes: Annotated[int, Field(ge=1, le=256)] = 2
    """Processes that verify answers side by side."""
    time_limit_s: float = Field(default=10.0, gt=0, le=3600)
    """Longest time for one answer; after it the answer earns 0, is counted in `reward/timeouts`, and its process is
    replaced."""
    max_failed_fraction: float = Field(default=0.1, ge=0, le=1)
    """Share of a dataset's rows whose own gold answer may be unusable, so that no answer earns their reward: those rows
    are left out, and named in an event before the first step. Above this share the job fails, naming them. An answer
    that cannot be judged earns 0 and never ends a job."""
