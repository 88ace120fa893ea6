"""The share of its card that each server beside a trainer is started with, from the estimate of the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from uniapl.estimate import plan
from uniapl.estimate.model_shape import ShapeUnknown, read_shape
from uniapl.estimate.placement import place
from uniapl.estimate.servers import servers_of
from uniapl.run.config import ModelSource
from uniapl.spec.backend import ServerRole
from uniapl.spec.estimate import Gpu, Hardware
from uniapl.spec.job import JobSpec


def shares(spec: JobSpec, models: Mapping[str, ModelSource], gpus: Sequence[Gpu]) -> dict[ServerRole, float]:
    """Of the cards of this machine; none where it has no GPU, or the student's size is not known.

    The trainer is counted with rows as long as `data` allows, so that what a discriminator's server gets does not
    depend on the rows, and the next job can use it.
    """
    if not gpus:
        return {}
    try:
        trainer = plan.memory(spec, plan.read_models(spec, models.__getitem__, read_shape), plan.longest(spec), "gpu")
    except ShapeUnknown:
        return {}
    here = Hardware(cpus=1, memory_bytes=0, gpus=list(gpus), slots=1)
    placed = place(here, trainer.total, servers_of(spec, models.__getitem__, read_shape))
    return {role: share for card in placed for role, share in card.shares.items()}
