"""The failure signatures that are watched for, and their thresholds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from uniapl.spec.base import Count, Input

Signature = Literal[
    "length_collapse", "reward_hacking", "instability", "entropy_collapse", "no_reward_variance", "not_finite"
]


class Health(Input):
    """When a run is said to fail in one of the known ways; each becomes an event with its evidence.

    The defaults are meant to stay silent on a run that goes well, and to speak up before the run is lost. A signature
    is reported once when it begins, and again only after it has cleared.
    """

    stop_on: list[Signature] = []
    """Signatures that end the job with a checkpoint and an error. A loss or gradient that is not finite always does."""
    window: Count = Field(default=10, le=1000)
    """Steps over which lengths and entropy are averaged, so that one odd step is no failure."""
    history: int = Field(default=40, ge=8, le=500)
    """Past steps that tell what is usual for the run. A trend needs all of them, a spike half of them; with fewer than
    about 20, chance alone looks like either."""
    length_low: float = Field(default=0.3, gt=0, lt=1)
    """Length collapse: completions are on average shorter than this share of the teacher's answers, or their standard
    deviation is below this share of the teacher's. A student that begins outside is held
    to half, or twice, of where it began."""
    length_high: float = Field(default=3.0, gt=1)
    """Length collapse: or completions are on average longer than this multiple of the teacher's answers."""
    hacking_z: float = Field(default=3.0, gt=0)
    """Reward hacking: the reward's upward and the discriminator score's downward Mann-Kendall trend both reach this
    z-score. At 3 chance alone gives one such trend in 740 windows, and rarely two at once in opposite directions."""
    hacking_fall: float = Field(default=0.25, ge=0)
    """Reward hacking: and the score has fallen by at least this share of the spread between answers to one prompt,
    for a trend can be certain and yet too small to matter."""
    spike_mads: float = Field(default=10.0, gt=0)
    """Instability: the loss, the gradient norm or the spread of the discriminator's scores lies this many median
    absolute deviations (scaled to a standard deviation) above the history's median, and twice as far out as its upper
    tenth begins. Ten is far beyond what the noise of mini-batches does, also with tails heavier than a normal's."""
    entropy_low: float = Field(default=0.1, gt=0, lt=1)
    """Entropy collapse: the entropy per token is below this share of the run's first step's. Learning to answer in one
    style costs some entropy; nine tenths of it leave too little to explore with."""
    no_variance_steps: Count = Field(default=5, le=1000)
    """No reward variance: so many steps in a row in which all answers to each prompt earned the same reward, so that
    exploration had no gradient. A single such step is common with few prompts."""
