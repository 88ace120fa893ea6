"""Dual update of lambda_adv: the multiplier of the constraint that the mean score stays at a target.

    max  E[(1 - alpha) reward - alpha L_SFT]   subject to   E[D(x, y*, y)] >= target

The constraint's multiplier is lambda_adv. It follows the violation by exponentiated gradient ascent (Kivinen and
Warmuth, 1997), which keeps it positive, so that rollouts are always scored:

    log lambda  <-  log lambda + rate · s · (target - mean score)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from uniapl.spec.objective import ScoreTarget

LARGEST_CHANGE = 0.5
"""Bound of the change of log lambda per step. It stays below log 2, the jump that `health` regards as a new stage."""


@dataclass
class DualWeight:
    """The factor on lambda_adv, from the mean scores of all steps so far; part of the checkpoint."""

    log_factor: float = 0.0

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
        change = target.rate * scale * (target.score - score)
        bound = math.log(target.max_factor)
        moved = self.log_factor + max(-LARGEST_CHANGE, min(change, LARGEST_CHANGE))
        self.log_factor = max(-bound, min(moved, bound))
