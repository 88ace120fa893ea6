"""Expected share of the adversarial term: the norm of its gradient relative to that of exploration."""

from __future__ import annotations

from uniapl.spec.estimate import AdversarialShare
from uniapl.spec.job import JobSpec
from uniapl.spec.objective import RELATIVE_LENGTH
from uniapl.spec.weights import Weights


def adversarial_share(spec: JobSpec, tokens: float) -> AdversarialShare | None:
    """The share at the first step with a weight of L_ADV; `None` without the term, or for `target: teacher_response`.

    The score functions of sampled tokens are uncorrelated, so norms compare as the token weights of the terms do
    (docs/method.md). Rewards and scaled scores are taken to have a spread of one.

    Args:
        spec: the job.
        tokens: tokens of a completion.
    """
    weights = _first_weights(spec)
    if weights is None or spec.adversarial.target == "teacher_response":
        return None
    share = weights.lambda_adv * _ratio(spec, tokens) / ((1 - weights.alpha) or 1)
    aggregate, beside = spec.adversarial.aggregate, "" if weights.alpha < 1 else ", which has no weight here,"
    where = "at any length" if aggregate == "relative" else f"at {tokens:.0f} tokens per completion"
    basis = (
        f"lambda_adv={weights.lambda_adv:g} with adversarial.aggregate {aggregate!r} gives L_ADV about {share:.2g} "
        f"times the gradient norm of exploration{beside} {where}, for rewards and scaled scores with a spread of 1"
    )
    return AdversarialShare(share=share, tokens=tokens, basis=basis)


def _first_weights(spec: JobSpec) -> Weights | None:
    """The weights of the first step in which L_ADV has one."""
    start = 0
    for stage in spec.stages:
        steps = range(start, start + min(stage.steps, 2))  # a schedule from 0 is positive at its second step
        found = next((w for w in map(spec.weights_at, steps) if w.lambda_adv > 0), None)
        if found is not None:
            return found
        start += stage.steps
    return None


def _ratio(spec: JobSpec, tokens: float) -> float:
    """Norm of L_ADV's token weights over that of L_GRPO's, for completions of equal length and unit weights."""
    longest = spec.rollout.max_new_tokens
    explored = 1 / longest if spec.grpo.loss == "dr_grpo" else 1 / tokens  # each times 1/N
    match spec.adversarial.aggregate:
        case "relative":
            return RELATIVE_LENGTH
        case "seq_sum":
            return 1 / explored
        case "seq_mean" | "token_mean":
            return 1 / tokens / explored
        case "sum_over_const":
            return 1 / longest / explored
