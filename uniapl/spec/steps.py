"""One step of a run as one line of text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

LOSS = "loss"
ALPHA, LAMBDA = "uniapl/alpha", "uniapl/lambda_adv"
TERMS = {"sft": "uniapl/loss_sft", "grpo": "uniapl/loss_grpo", "adv": "uniapl/loss_adv"}
OTHERS = {"|g|": "grad_norm", "reward": "reward", "score": "disc/score_student"}
STEP_TIME = "step_time"
SHOWN = (LOSS, ALPHA, LAMBDA, *TERMS.values(), *OTHERS.values(), STEP_TIME)
"""Names of the metrics that a line is made of."""


def step_line(step: int, steps: int, values: Mapping[str, float], eta_s: float | None) -> str:
    """The loss, its terms as they are weighted in it, further numbers, seconds, and the time that is left.

    Args:
        step: updates made so far.
        steps: of the whole run.
        values: metrics of the step by name; those that a mode has not are left out.
        eta_s: seconds that the steps that are left will take; `None` where it is not known.
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
