"""From discriminator scores to the coefficient of the adversarial term.

The score d_i = D(x, y*, y_i) says how close rollout y_i is to the teacher's answer y*. Sampling text carries no
gradient, so the term is a score-function estimate with one constant c_i per rollout (docs/method.md).
"""

from __future__ import annotations

from torch import Tensor


def leave_one_out(
    scores: Tensor,  # (P, G)
) -> Tensor:  # (P, G)
    """Subtract from each score the mean of its siblings' scores.

        c_i = d_i - mean_{j != i} d_j

    The baseline does not depend on y_i, so the gradient's expectation is that of the raw score at a lower variance,
    and adding a constant to every score changes nothing (RLOO, arXiv:2402.14740).
    """
    G = scores.shape[1]
    return (scores - scores.mean(dim=1, keepdim=True)) * (G / (G - 1))


def coefficients(
    scores: Tensor,  # (P, G)
    *,
    scale: float,
    clip: float | None,
) -> Tensor:  # (P, G), without gradient
    """Leave-one-out coefficients of scaled scores, bounded by `clip`.

    Args:
        scores: raw discriminator scores.
        scale: factor that brings the discriminator's spread to the order of one.
        clip: bound on the absolute value, against score spikes; `None` for no bound.
    """
    coef = leave_one_out(scores.detach() * scale)
    return coef if clip is None else coef.clamp(-clip, clip)
