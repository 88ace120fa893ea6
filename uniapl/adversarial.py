"""From discriminator scores to the coefficient of the adversarial term.

The score d_i = D(x, y*, y_i) says how close rollout y_i is to the teacher's answer y*. Sampling text carries no
gradient, so the term is a score-function estimate with one constant c_i per rollout (docs/method.md).
"""

from __future__ import annotations

from torch import Tensor

from uniapl.spec.job import Adversarial


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


def whitened(
    scores: Tensor,  # (P, G)
    eps: float = 1e-4,
) -> Tensor:  # (P, G)
    """Centre each group's scores and divide by their standard deviation: `(d_i - mean) / (std + eps)`.

    `eps` keeps a group without spread at zero rather than amplify its noise.
    """
    return (scores - scores.mean(dim=1, keepdim=True)) / (scores.std(dim=1, keepdim=True) + eps)


def coefficients(
    scores: Tensor,  # (P, G)
    *,
    scale: float,
    options: Adversarial,
) -> Tensor:  # (P, G), without gradient
    """The coefficients c_i of the adversarial term.

    Args:
        scores: raw discriminator scores.
        scale: factor that brings the discriminator's spread to the order of one.
        options: `coef` chooses the form, `coef_clip` bounds its absolute value.
    """
    d = scores.detach() * scale
    match options.coef:
        case "loo":
            coef = leave_one_out(d)
        case "raw":
            coef = d
        case "group_whiten":
            coef = whitened(d)
    return coef if options.coef_clip is None else coef.clamp(-options.coef_clip, options.coef_clip)
