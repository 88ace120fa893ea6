"""The unified objective as pure functions: tensors in, scalar terms out.

    L = alpha · L_SFT + (1 - alpha) · L_GRPO + lambda_adv · L_ADV          (arXiv:2509.25148)

Each term is a plain sum over the micro-batch divided by a count over the *whole step* (`Counts`), so that the gradient
is the same however the step is cut, and alpha and lambda_adv, not row counts, set the balance. No model, optimizer or
device appears in this file. Shapes: see `uniapl.batch`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from uniapl.batch import Counts, MicroBatch


@dataclass(frozen=True)
class Terms:
    """The three terms over one micro-batch, unweighted; their sum over micro-batches is the step's."""

    sft: Tensor  # ()
    grpo: Tensor  # ()
    adv: Tensor  # ()

    def weighted(self, alpha: float, lambda_adv: float) -> dict[str, Tensor]:
        """Each term as it enters the gradient, by name; terms without weight are left out."""
        weights = {"sft": alpha, "grpo": 1 - alpha, "adv": lambda_adv}
        return {name: weight * getattr(self, name) for name, weight in weights.items() if weight > 0}


def sft_loss(
    logprobs: Tensor,  # (B, C) of the teacher's tokens
    mask: Tensor,  # (B, C) bool, True on the teacher's tokens
    *,
    num_tokens: int,
) -> Tensor:  # ()
    """Negative log-likelihood of the demonstrations, per token; prompts are not part of `logprobs`.

    L_SFT = -1/N sum_t log pi(y*_t | x, y*_<t)
    """
    return -(logprobs * mask).sum() / max(num_tokens, 1)


def clipped_surrogate(
    logprobs: Tensor,  # (B, C) current policy; the only input with a gradient
    old_logprobs: Tensor,  # (B, C) the policy that sampled the rollout
    weights: Tensor,  # (B,) advantage or coefficient, one per rollout
    mask: Tensor,  # (B, C) bool
    *,
    clip_low: float,
    clip_high: float,
) -> Tensor:  # (B, C), 0 outside the mask
    """PPO's pessimistic surrogate (arXiv:1707.06347, eq. 7), with DAPO's two bounds (arXiv:2503.14476, eq. 10).

        min(r_t w, clip(r_t, 1 - clip_low, 1 + clip_high) w),   r_t = exp(logprobs_t - old_logprobs_t)

    At r = 1 its gradient is that of `w · logprobs`, the score-function estimate.
    """
    ratio = (logprobs - old_logprobs).masked_fill(~mask, 0.0).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    w = weights.detach()[:, None]
    return (ratio * w).minimum(clipped * w) * mask


def grpo_loss(surrogate: Tensor, *, num_tokens: int) -> Tensor:
    """Mean of the surrogate over every sampled token of the step (DAPO's token-level loss, eq. 8).

    L_GRPO = -1/N sum_i sum_t surrogate(r_it, A_i)
    """
    return -surrogate.sum() / max(num_tokens, 1)


def adv_loss(surrogate: Tensor, *, num_rollouts: int) -> Tensor:
    """Sum over a rollout's tokens, mean over the step's compared rollouts.

        L_ADV = -1/N sum_i sum_t surrogate(r_it, c_i)

    With summed log-probabilities and a leave-one-out c_i this is the score-function gradient of -E[d(x, y*, y)] itself:
    nothing divides by length, so the term has no length bias of its own.
    """
    return -surrogate.sum() / max(num_rollouts, 1)


def unified_terms(
    logprobs: Tensor,  # (B, C)
    batch: MicroBatch,
    counts: Counts,
    *,
    clip_low: float,
    clip_high: float,
) -> Terms:
    """L_SFT, L_GRPO and L_ADV of one micro-batch, each over its own sequences."""
    explored = batch.completion_mask & batch.explored[:, None]
    compared = batch.completion_mask & batch.compared[:, None]
    clip = {"clip_low": clip_low, "clip_high": clip_high}
    return Terms(
        sft=sft_loss(logprobs, batch.completion_mask & batch.demonstration[:, None], num_tokens=counts.sft_tokens),
        grpo=grpo_loss(
            clipped_surrogate(logprobs, batch.old_logprobs, batch.advantages, explored, **clip),
            num_tokens=counts.grpo_tokens,
        ),
        adv=adv_loss(
            clipped_surrogate(logprobs, batch.old_logprobs, batch.coef, compared, **clip),
            num_rollouts=counts.adv_rollouts,
        ),
    )
