"""Options of the reward computation of a job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from uniapl.spec.base import Input


class RewardOptions(Input):
    """Aggregation, time limit and failure limit of rewards."""

    aggregate: Literal["fraction", "strict"] = "fraction"
    """Aggregation over the constraints of a row. `fraction`: fraction followed (IF-RLVR). `strict`: 1 if all, else
    0."""
    ifeval: Literal["repaired", "published"] = "repaired"
    """Reading of the constraints of `ifeval` rewards. `repaired`: what the constraint's words demand. `published`: the
    verdicts of the original checkers, quirks included. Evaluations always use `published`, so that their scores are
    comparable."""
    loose: bool = False
    """IFEval's loose evaluation: a constraint is followed if it is after removing the first line, the last line or
    asterisks, in any combination."""
    discriminator_weight: float = Field(default=0.0, ge=0)
    """Weight of the scaled discriminator score that is added to each reward in L_GRPO. A control experiment, not
    UniAPL: the discriminator acts as a reward instead of a separate loss term."""
    overlong_tokens: int = Field(default=0, ge=0, le=2**31 - 1)
    """Number of tokens before `rollout.max_new_tokens` within which a completion loses reward in L_GRPO: linearly, from
    0 to `overlong_penalty` at the limit (DAPO's soft overlong punishment, arXiv:2503.14476, eq. 13). 0 disables it."""
    overlong_penalty: float = Field(default=1.0, gt=0)
    """Reward that a completion of `rollout.max_new_tokens` tokens loses, if `overlong_tokens` is set."""
    processes: Annotated[int, Field(ge=1, le=256)] = 2
    """Number of processes that verify answers concurrently."""
    time_limit_s: float = Field(default=10.0, gt=0, le=3600)
    """Limit per answer, in seconds of CPU time; ten times as many if it sleeps. On expiry the reward is 0,
    `reward/timeouts` is incremented, and the process is replaced."""
    max_failed_fraction: float = Field(default=0.1, ge=0, le=1)
    """Maximum fraction of a dataset's rows with an unusable gold answer. Such rows are skipped and listed in an event
    before the first step; above this fraction the job fails and lists them. An answer that cannot be verified has
    reward 0 and never fails a job."""
