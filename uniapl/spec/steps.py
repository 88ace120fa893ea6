"""The progress line of a training step."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

LOSS = "loss"
ALPHA, LAMBDA = "uniapl/alpha", "uniapl/lambda_adv"
TERMS = {"sft": "uniapl/loss_sft", "grpo": "uniapl/loss_grpo", "adv": "uniapl/loss_adv"}
OTHERS = {"|g|": "grad_norm", "reward": "reward", "score": "disc/score_student"}
STEP_TIME = "step_time"
SHOWN = (LOSS, ALPHA, LAMBDA, *TERMS.values(), *OTHERS.values(), STEP_TIME)
"""Names of the metrics in a progress line."""


def step_line(step: int, steps: int, values: Mapping[str, float], eta_s: float | None) -> str:
    """Loss, weighted loss terms, further metrics, step time and remaining time.

    Args:
        step: policy updates done.
        steps: policy updates of the whole run.
        values: metrics of the step by name; missing ones are skipped.
        eta_s: seconds of the remaining steps; `None` if unknown.
    """
    numbers = {"loss": values.get(LOSS), **_weighted(values), **{k: values.get(name) for k, name in OTHERS.items()}}
    parts = [f"{label} {value + 0.0:.4g}" for label, value in numbers.items() if value is not None]
    parts += [f"{values[STEP_TIME]:.1f} s"] if STEP_TIME in values else []
    parts += [f"ETA {timedelta(seconds=round(eta_s))}"] if eta_s is not None and step < steps else []
    return f"step {step:4d}/{steps}  {'  '.join(parts)}"


def _weighted(values: Mapping[str, float]) -> dict[str, float]:
    """alpha · L_SFT, (1 - alpha) · L_GRPO, lambda_adv · L_ADV: their sum is the loss."""
    alpha = values.get(ALPHA, 0.0)
    weights = {"sft": alpha, "grpo": 1 - alpha, "adv": values.get(LAMBDA, 0.0)}
    return {term: weights[term] * values[name] for term, name in TERMS.items() if name in values}
