"""Detectors of known training failures, and their thresholds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from uniapl.spec.base import Count, Input

Signature = Literal[
    "length_collapse",
    "reward_hacking",
    "instability",
    "entropy_collapse",
    "no_reward_variance",
    "truncation",
    "not_finite",
]


class Health(Input):
    """Detectors of known training failures; each detection becomes an event with its evidence.

    The defaults aim at no event in a healthy run and at an early event in a failing one. A signature is reported once
    when it begins, and again only after it has cleared.
    """

    stop_on: list[Signature] = []
    """Signatures that stop the job with a checkpoint and an error. A non-finite loss or gradient always does."""
    window: Count = Field(default=10, le=1000)
    """Steps over which lengths and entropy are averaged, so that a single outlier is not reported."""
    history: int = Field(default=40, ge=8, le=500)
    """Past steps that form the run's baseline. Trend detection needs all of them, spike detection half of them; with
    fewer than about 20, false positives become likely."""
    length_low: float = Field(default=0.3, gt=0, lt=1)
    """Length collapse, lower bound: mean or standard deviation of the completion lengths, relative to the teacher's
    answers. For a student that starts outside the bounds, they are half and twice its initial value."""
    length_high: float = Field(default=3.0, gt=1)
    """Length collapse, upper bound: mean completion length, relative to the teacher's answers."""
    hacking_z: float = Field(default=3.0, gt=0)
    """Reward hacking: z-score that both the upward Mann-Kendall trend of the reward and the downward trend of the
    discriminator score must reach. At 3, one window in 740 has such a single trend by chance."""
    hacking_fall: float = Field(default=0.25, ge=0)
    """Reward hacking: minimum fall of the score, as a fraction of the standard deviation within groups; excludes
    significant but negligible trends."""
    spike_mads: float = Field(default=10.0, gt=0)
    """Instability: distance of the loss, the gradient norm or the standard deviation of the scores from the history's
    median, in median absolute deviations (scaled to a standard deviation). The value must also lie twice as far out as
    the history's 90th percentile. 10 is far above mini-batch noise, including heavy-tailed noise."""
    entropy_low: float = Field(default=0.1, gt=0, lt=1)
    """Entropy collapse: minimum entropy per token, relative to the first step of the run. Some loss of entropy is
    normal; a loss of 90 % leaves too little for exploration."""
    truncated_high: float = Field(default=0.5, gt=0, le=1)
    """Truncation: fraction of completions that reach `rollout.max_new_tokens` without an end token, over at most
    `window` steps, from the first step on. Above a half, most answers are judged unfinished. 1 disables it."""
    no_variance_steps: Count = Field(default=5, le=1000)
    """No reward variance: number of consecutive steps in which all completions of each prompt have the same reward, so
    that L_GRPO has no gradient. A single such step is common with few prompts."""
