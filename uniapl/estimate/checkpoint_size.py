"""Disk space of a job's checkpoints."""

from __future__ import annotations

from uniapl.estimate.activations import FLOAT
from uniapl.estimate.model_shape import read_shape
from uniapl.estimate.moments import moment_bytes
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec


def checkpoint_bytes(spec: JobSpec, student: ModelSource) -> int:
    """Bytes of all checkpoints that a job keeps, and of the next one, which is written before an old one is deleted.

    Each holds the model in float32 and AdamW's moments, with LoRA the merged model, adapters and their moments. A
    model in the student's own type is counted as in float32, beside its weights in float32. A learned discriminator is
    not counted.

    Raises:
        ShapeUnknown: the size of the student is unknown.
    """
    shape = read_shape(student)
    beside = shape.trained(spec.lora) if spec.lora or spec.schedule.checkpoint_dtype == "student" else 0
    one = round(FLOAT * (shape.parameters + beside) + moment_bytes(spec, shape))
    written = spec.schedule.steps // spec.schedule.checkpoint_every + 1
    return one * min(written, spec.schedule.keep_checkpoints + 1)
