"""The unified objective as pure functions: tensors in, scalar terms out.

    L = alpha · L_SFT + (1 - alpha) · L_GRPO + lambda_adv · L_ADV          (arXiv:2509.25148)

Each term is a plain sum over the micro-batch divided by a count over the *whole step* (`Counts`), so that the gradient
is the same however the step is cut, and alpha and lambda_adv, not row counts, set the balance. No model, optimizer or
device appears in this file. Shapes: see `uniapl.batching.batch`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from uniapl.batching.batch import Counts, MicroBatch
from uniapl.spec.job import JobSpec
from uniapl.spec.objective import RELATIVE_LENGTH, Adversarial, Grpo, Sft
from uniapl.spec.weights import Weights


@dataclass(frozen=True)
class Terms:
    """The three terms over one micro-batch, unweighted; their sum over micro-batches is the step's."""

    sft: Tensor  # ()
    grpo: Tensor  # ()
    adv: Tensor  # ()

    def weighted(self, weights: Weights) -> dict[str, Tensor]:
        """The weighted terms by name; terms with weight 0 are omitted."""
        by_name = {"sft": weights.alpha, "grpo": 1 - weights.alpha, "adv": weights.lambda_adv}
        return {name: weight * getattr(self, name) for name, weight in by_name.items() if weight > 0}


def sft_loss(
    logprobs: Tensor,  # (B, C) of the teacher's tokens
    mask: Tensor,  # (B, C) bool, True on the teacher's tokens
    options: Sft,
    *,
    num_tokens: int,
) -> Tensor:  # ()
    """Negative log-likelihood of the demonstrations, per token; prompts are not part of `logprobs`.

        L_SFT = -1/N sum_t w_t log pi(y*_t | x, y*_<t)

    With N tokens in the whole step; w_t is 1, or with `phi` the constant p_t (1 - p_t) at p_t = pi(y*_t | x, y*_<t)
    (CHORD-phi, arXiv:2508.11408).
    """
    logprobs = logprobs.masked_fill(~mask, 0.0)
    if options.token_weight == "phi":
        p = logprobs.detach().exp()
        logprobs = p * (1 - p) * logprobs
    return -logprobs.sum() / max(num_tokens, 1)


def kl_penalty(
    logprobs: Tensor,  # (B, C) current policy
    ref_logprobs: Tensor,  # (B, C) reference policy
    mask: Tensor,  # (B, C) bool
    estimator: Literal["k1", "k2", "k3"],
) -> Tensor:  # (B, C), 0 outside the mask
    """Per-token estimate of KL(policy || reference) on sampled tokens, with δ = ref_logprobs - logprobs.

        k1 = -δ    k2 = δ²/2    k3 = exp(δ) - δ - 1          (J. Schulman, Approximating KL divergence, 2020)

    k1's own gradient is zero in expectation, whatever the reference: E[∇ log pi] = 0. It is therefore replaced by k2's
    gradient, which is that of the KL (arXiv:2506.09477).
    """
    delta = (ref_logprobs - logprobs).masked_fill(~mask, 0.0)
    k2 = delta.square() / 2
    match estimator:
        case "k1":
            return k2 + (-delta - k2).detach()
        case "k2":
            return k2
        case "k3":
            return delta.exp() - delta - 1


def bounded_anchor(
    logprobs: Tensor,  # (B, C) current policy
    old_logprobs: Tensor,  # (B, C) the sampler
    max_ratio: float,
) -> Tensor:  # (B, C)
    """Old log-probabilities under which no importance weight is above `max_ratio`.

    A sampler in another precision occasionally gives a token a far lower probability than the policy. Such a token has
    the constant weight `max_ratio` and keeps its direction: truncated importance sampling (Ionides, 2008).
    """
    return torch.maximum(old_logprobs, logprobs.detach() - math.log(max_ratio))


def clipped_surrogate(
    logprobs: Tensor,  # (B, C) current policy; the only input with a gradient
    old_logprobs: Tensor,  # (B, C) the policy that sampled the rollout
    weights: Tensor,  # (B,) advantage or coefficient, one per rollout
    mask: Tensor,  # (B, C) bool
    *,
    clip_low: float,
    clip_high: float,
) -> Tensor:  # (B, C), 0 outside the mask
    """PPO's pessimistic surrogate (arXiv:1707.06347, eq. 7), with DAPO's two bounds (arXiv:2503.14476, section 3.1).

        min(r_t w, clip(r_t, 1 - clip_low, 1 + clip_high) w),   r_t = exp(logprobs_t - old_logprobs_t)

    At r = 1 its gradient is that of `w · logprobs`, the score-function estimate.
    """
    ratio = (logprobs - old_logprobs).masked_fill(~mask, 0.0).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    w = weights.detach()[:, None]
    return (ratio * w).minimum(clipped * w) * mask


def sequence_surrogate(
    logprobs: Tensor,  # (B, C)
    old_logprobs: Tensor,  # (B, C)
    weights: Tensor,  # (B,)
    mask: Tensor,  # (B, C) bool
    *,
    clip_low: float,
    clip_high: float,
) -> Tensor:  # (B,), 0 for rows without a token in the mask
    """GSPO's surrogate (arXiv:2507.18071): one ratio per rollout, clipped as a whole.

    min(s w, clip(s, 1 - clip_low, 1 + clip_high) w),   s = exp(1/|y| sum_t (logprobs_t - old_logprobs_t))
    """
    lengths = mask.sum(dim=1)
    mean = (logprobs - old_logprobs).masked_fill(~mask, 0.0).sum(dim=1) / lengths.clamp(min=1)
    ratio = mean.exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    w = weights.detach()
    return (ratio * w).minimum(clipped * w) * (lengths > 0)


def grpo_loss(
    logprobs: Tensor,  # (B, C)
    batch: MicroBatch,
    counts: Counts,
    options: Grpo,
    *,
    max_length: int,
) -> Tensor:  # ()
    """L_GRPO in the form that `options.loss` names; R rollouts and N sampled tokens in the whole step.

    dapo     -1/N sum_i sum_t surrogate_it                       arXiv:2503.14476, section 3.3
    grpo     -1/R sum_i 1/|y_i| sum_t surrogate_it               arXiv:2402.03300
    dr_grpo  -1/(R max_length) sum_i sum_t surrogate_it          arXiv:2503.20783
    gspo     -1/R sum_i surrogate_i, one ratio per rollout       arXiv:2507.18071

    With a `kl_coef`, kl_coef · KL_it is subtracted from each surrogate_it; for gspo its mean over the rollout's tokens
    is subtracted from surrogate_i.
    """
    mask = batch.completion_mask & batch.explored[:, None]
    lengths = mask.sum(dim=1).clamp(min=1)  # (B,)
    clip = {"clip_low": options.clip_low, "clip_high": options.clip_high}
    R = max(counts.grpo_rollouts, 1)
    kl = torch.zeros_like(logprobs)
    if options.kl_coef > 0 and batch.explored.any():
        assert batch.ref_logprobs is not None
        kl = options.kl_coef * kl_penalty(logprobs, batch.ref_logprobs, mask, options.kl_estimator)
    if options.loss == "gspo":
        surrogate = sequence_surrogate(logprobs, batch.old_logprobs, batch.advantages, mask, **clip)
        return -(surrogate - kl.sum(dim=1) / lengths).sum() / R
    surrogate = clipped_surrogate(logprobs, batch.old_logprobs, batch.advantages, mask, **clip)
    per_rollout = (surrogate - kl).sum(dim=1)  # (B,)
    match options.loss:
        case "dapo":
            return -per_rollout.sum() / max(counts.grpo_tokens, 1)
        case "grpo":
            return -(per_rollout / lengths).sum() / R
        case "dr_grpo":
            return -per_rollout.sum() / (R * max_length)


def adv_loss(
    logprobs: Tensor,  # (B, C)
    batch: MicroBatch,
    counts: Counts,
    options: Adversarial,
    *,
    exploration: Grpo,
    max_length: int,
) -> Tensor:  # ()
    """L_ADV in the form that `options` names; N compared rollouts in the whole step.

        relative        -S sum_i sum_t surrogate_it, with S of `relative_scale`
        seq_sum         -1/N sum_i sum_t surrogate_it
        seq_mean        -1/N sum_i 1/|y_i| sum_t surrogate_it
        token_mean      -1/(sum_i |y_i|) sum_i sum_t surrogate_it
        sum_over_const  -1/(N max_length) sum_i sum_t surrogate_it

    With summed log-probabilities and a leave-one-out c_i this is the score-function gradient of -E[d(x, y*, y)] itself:
    nothing divides by length, so the term has no length bias of its own. `relative` has the same direction. With
    `target: teacher_response` the sequences are the teacher's answers and c_i the weight of their log-likelihood, which
    `relative` takes as it is.
    """
    mask = batch.completion_mask & batch.compared[:, None]
    if options.surrogate == "reinforce":
        surrogate = logprobs.masked_fill(~mask, 0.0) * batch.coef.detach()[:, None]
    else:
        clip = {"clip_low": options.clip_low, "clip_high": options.clip_high}
        surrogate = clipped_surrogate(logprobs, batch.old_logprobs, batch.coef, mask, **clip)
    per_rollout = surrogate.sum(dim=1)  # (B,)
    N = max(counts.adv_rollouts, 1)
    match options.aggregate:
        case "relative":
            whiten = options.target == "student_rollout"
            return -relative_scale(counts, exploration.loss, max_length, whiten=whiten) * per_rollout.sum()
        case "seq_sum":
            return -per_rollout.sum() / N
        case "seq_mean":
            return -(per_rollout / mask.sum(dim=1).clamp(min=1)).sum() / N
        case "token_mean":
            return -per_rollout.sum() / max(counts.adv_tokens, 1)
        case "sum_over_const":
            return -per_rollout.sum() / (N * max_length)


def relative_scale(
    counts: Counts,
    loss: Literal["dapo", "grpo", "dr_grpo", "gspo"],
    max_length: int,
    *,
    whiten: bool = True,
    eps: float = 1e-4,
) -> float:
    """Factor that gives L_ADV the expected gradient norm of exploration with unit advantages, times `RELATIVE_LENGTH`.

    The score functions of sampled tokens are uncorrelated: E[∇log pi_s · ∇log pi_t] = 0 for s != t. The expected
    squared norm of a term is therefore proportional to the sum of its squared token weights. That sum is taken over the
    step, for the weights c_i and for those that L_GRPO gives to the same rollouts at |A_i| = 1.

    Args:
        counts: of the whole step.
        loss: form of L_GRPO.
        max_length: its constant length, for `dr_grpo`.
        whiten: divide by the spread of the coefficients; without it they are taken as they are.
        eps: bounds the amplification of noise in a step whose coefficients have no spread.
    """
    tokens, rollouts = max(counts.adv_tokens, 1), max(counts.adv_rollouts, 1)
    match loss:
        case "dapo":
            norm = 1 / math.sqrt(tokens)
        case "grpo" | "gspo":
            norm = math.sqrt(counts.adv_inverse_lengths) / rollouts
        case "dr_grpo":
            norm = math.sqrt(tokens) / (rollouts * max_length)
    spread = counts.adv_coef_norm / math.sqrt(tokens) + eps if whiten else 1.0
    return RELATIVE_LENGTH * norm / (math.sqrt(tokens) * spread)


def unified_terms(
    logprobs: Tensor,  # (B, C)
    batch: MicroBatch,
    counts: Counts,
    spec: JobSpec,
) -> Terms:
    """L_SFT, L_GRPO and L_ADV of one micro-batch, each over its own sequences."""
    taught = batch.completion_mask & batch.demonstration[:, None]
    max_length = spec.rollout.max_new_tokens
    return Terms(
        sft=sft_loss(logprobs, taught, spec.sft, num_tokens=counts.sft_tokens),
        grpo=grpo_loss(logprobs, batch, counts, spec.grpo, max_length=max_length),
        adv=adv_loss(logprobs, batch, counts, spec.adversarial, exploration=spec.grpo, max_length=max_length),
    )
