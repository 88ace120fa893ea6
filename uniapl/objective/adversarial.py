"""Coefficients of the adversarial term, from discriminator scores.

The score d_i = D(x, y*, y_i) measures how close rollout y_i is to the teacher's answer y*. Sampling text has no
gradient, so the term is a score-function estimate with one constant c_i per rollout (docs/method.md).

A missing score is NaN and gives a NaN coefficient, which excludes the rollout from L_ADV; no value is substituted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uniapl.objective.advantages import centre
from uniapl.spec.objective import Adversarial

NAN = float("nan")


@dataclass
class RunningBaseline:
    """A running mean of the scores of earlier steps, for groups of one; part of the checkpoint."""

    decay: float = 0.9
    mean: float | None = None

    def centred(self, scores: Tensor) -> Tensor:  # any shape
        """Scores less the mean of earlier steps (at the first, of this step); then adds this step to the mean."""
        known = scores[scores.isfinite()]
        if not len(known):
            return scores
        step_mean = known.mean().item()
        baseline = step_mean if self.mean is None else self.mean
        self.mean = step_mean if self.mean is None else self.decay * self.mean + (1 - self.decay) * step_mean
        return scores - baseline


def leave_one_out(
    scores: Tensor,  # (P, G)
) -> Tensor:  # (P, G)
    """Subtract from each score the mean of its siblings' scores.

        c_i = d_i - mean_{j != i} d_j = (d_i - mean_j d_j) · n / (n - 1)

    The baseline does not depend on y_i, so the gradient's expectation is that of the raw score at a lower variance,
    and adding a constant to every score changes nothing (RLOO, arXiv:2402.14740). A score without siblings has no
    baseline and gives NaN.
    """
    known = scores.isfinite()
    n = known.sum(dim=1, keepdim=True)
    centred, _ = centre(scores)
    return torch.where(known & (n > 1), centred * n / (n - 1).clamp(min=1), NAN)


def whitened(
    scores: Tensor,  # (P, G)
    eps: float = 1e-4,
) -> Tensor:  # (P, G)
    """Centre each group's scores and divide by their standard deviation: `(d_i - mean) / (std + eps)`.

    `eps` bounds the amplification of noise in a group without spread.
    """
    centred, std = centre(scores)
    return torch.where(scores.isfinite(), centred / (std + eps), NAN)


def coefficients(
    scores: Tensor,  # (P, G), NaN where there is none
    *,
    scale: float,
    options: Adversarial,
    teacher_scores: Tensor | None = None,  # (P,) D(x, y*, y*); for `bt_margin`
    baseline: RunningBaseline | None = None,
) -> Tensor:  # (P, G), without gradient; NaN for rollouts excluded from L_ADV
    """The coefficients c_i of the adversarial term.

    Args:
        scores: raw discriminator scores.
        scale: factor that brings the discriminator's spread to the order of one.
        options: `coef` chooses the form, `coef_clip` bounds its absolute value.
        teacher_scores: raw scores of the teacher's own answers.
        baseline: the running mean; for `single_baseline: ema`, when G is 1.
    """
    d = scores.detach().double() * scale  # in float32 the mean of equal scores may differ from them
    match options.coef:
        case "loo":
            coef = _less_baseline(d, options, baseline)
        case "raw":
            coef = d
        case "group_whiten":
            coef = whitened(d)
        case "sigmoid":
            center, temperature = options.score_center or 0.0, options.score_temperature or 1.0
            coef = torch.sigmoid((d - center) / temperature)
        case "bt_margin":
            assert teacher_scores is not None
            margin = torch.nn.functional.logsigmoid(d - teacher_scores.detach()[:, None] * scale)
            coef = _less_baseline(margin, options, baseline)
    return (coef if options.coef_clip is None else coef.clamp(-options.coef_clip, options.coef_clip)).float()


def _less_baseline(
    values: Tensor,  # (P, G)
    options: Adversarial,
    baseline: RunningBaseline | None,
) -> Tensor:  # (P, G)
    """`leave_one_out` within each group; for groups of one, the baseline that `single_baseline` selects."""
    if values.shape[1] > 1:
        return leave_one_out(values)
    match options.single_baseline:
        case "batch_loo":
            return leave_one_out(values.T).T
        case "ema":
            assert baseline is not None
            return baseline.centred(values)
        case "none":
            return values


def teacher_weights(
    scores: Tensor,  # (P, G), NaN where there is none
    *,
    scale: float,
    options: Adversarial,
) -> Tensor:  # (P,), without gradient; NaN for a prompt without any score
    """Weights for `target: teacher_response`: the distance of the student's answers from the teacher's, in [0, 1].

    w = mean_i (1 - σ((d_i - score_center) / score_temperature)); the adaptive form of SFT that docs/method.md
    describes as an ablation.
    """
    return (1 - coefficients(scores, scale=scale, options=options)).nanmean(dim=1)
