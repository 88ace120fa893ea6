"""Dual update of lambda_adv: the multiplier of the constraint that the mean score stays at a target.

    max  E[(1 - alpha) reward - alpha L_SFT]   subject to   E[D(x, y*, y)] >= target

The constraint's multiplier is lambda_adv. It is adapted in logarithms, which keeps it positive, so that rollouts are
always scored. Dual ascent alone oscillates; a term proportional to the violation damps it (PID Lagrangian,
arXiv:2007.03964):

    e  =  s · (target - mean score)          I  <-  I + rate · e
    log lambda  =  log lambda_0 + I + 20 · rate · e
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from uniapl.spec.objective import ScoreTarget

LARGEST_CHANGE = 0.5
"""Bound of the change of log lambda, and of I, per step; below log 2, the jump that `health` regards as a new stage."""

DAMPING = 20
"""Weight of the violation itself, relative to `rate`. With it a bandit reaches the target at learning rates that differ
tenfold; without it the score swings between the extremes."""


@dataclass
class DualWeight:
    """The factor on lambda_adv, from the mean scores of all steps so far; part of the checkpoint."""

    integral: float = 0.0
    """I, the sum of the violations."""
    log_factor: float = 0.0
    """Of the next step."""

    @property
    def factor(self) -> float:
        """What lambda_adv is multiplied by; 1 before the first step."""
        return math.exp(self.log_factor)

    def update(self, score: float | None, scale: float, target: ScoreTarget) -> None:
        """Raise the factor if the step's mean score is below the target, lower it if it is above.

        Args:
            score: mean raw score of the step's rollouts; `None`, or not finite, leaves the factor unchanged.
            scale: factor that brings scores to the order of one.
            target: the constraint.
        """
        if score is None or not math.isfinite(score):
            return
        violation, bound = target.rate * scale * (target.score - score), math.log(target.max_factor)
        self.integral = _moved(self.integral, self.integral + violation, bound)
        self.log_factor = _moved(self.log_factor, self.integral + DAMPING * violation, bound)


def _moved(value: float, wanted: float, bound: float) -> float:
    """`wanted`, at most `LARGEST_CHANGE` from `value` and within the bound."""
    near = max(value - LARGEST_CHANGE, min(wanted, value + LARGEST_CHANGE))
    return max(-bound, min(near, bound))
