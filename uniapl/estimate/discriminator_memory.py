"""Memory of a discriminator in the trainer's process: its weights, and a batch that is scored or learned from."""

from __future__ import annotations

from uniapl.estimate.activations import FLOAT, PRODUCT, Device, cast_weights, per_token
from uniapl.estimate.model_shape import ModelShape
from uniapl.estimate.workload import Step
from uniapl.spec.job import JobSpec

BACKWARD_TOKENS = 16_384
"""As in `uniapl.discriminators.learned`, which needs torch."""


def _number(spec: JobSpec, device: Device) -> int:
    """Bytes of a number of the discriminator: POLAR is in bfloat16 on a GPU."""
    return FLOAT // 2 if spec.discriminator.type == "polar" and device == "gpu" else FLOAT


def resident(spec: JobSpec, judge: ModelShape | None, device: Device) -> float:
    """Bytes of a discriminator's weights; of a learned one also its moments."""
    if judge is None:
        return 0
    return _number(spec, device) * judge.parameters * (3 if spec.discriminator.type == "learned" else 1)


def scoring(spec: JobSpec, judge: ModelShape, step: Step, device: Device) -> float:
    """Bytes for scoring beside the discriminator's weights; for a learned one those of an update."""
    sequences = step.rollouts or step.demonstrations
    longest = max((s.prompt + s.completion for s in sequences), default=0)
    rows = spec.discriminator.batch_size
    if spec.discriminator.type == "learned":
        return learning(judge, rows, longest, device)
    rows = min(rows, round(len(sequences) * step.each))
    tokens = rows * min(longest, judge.positions)
    return _number(spec, device) * tokens * (2 * judge.intermediate + 4 * judge.hidden)


def learning(judge: ModelShape, pairs: int, longest: int, device: Device) -> float:
    """Bytes of an update of a learned discriminator beside its weights and moments.

    The gradient, and one backward pass over at most `pairs` pairs and `BACKWARD_TOKENS` tokens, at least one pair. The
    rows are padded: on a GPU each layer keeps the attention mask, which masks padding, in the type of products.
    """
    tokens = min(2 * pairs * longest, max(BACKWARD_TOKENS, 2 * longest))
    mask = PRODUCT["gpu"] * judge.layers * longest if device == "gpu" else 0
    return FLOAT * judge.parameters + cast_weights(judge, device) + tokens * (per_token(judge, device=device) + mask)
