"""GPU memory fractions of the servers beside a trainer, from the estimate of the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from uniapl.estimate import plan
from uniapl.estimate.model_shape import ShapeUnknown, read_shape
from uniapl.estimate.placement import gpu_index, place
from uniapl.estimate.servers import servers_of
from uniapl.run.config import ModelSource
from uniapl.spec.backend import ServerRole
from uniapl.spec.estimate import Gpu, Hardware
from uniapl.spec.job import JobSpec


def shared_card(gpus: Sequence[Gpu]) -> bool:
    """Whether a sampling server uses the trainer's GPU."""
    return bool(gpus) and gpu_index("trainer", gpus) == gpu_index("rollout", gpus)


def shares(spec: JobSpec, models: Mapping[str, ModelSource], gpus: Sequence[Gpu]) -> dict[ServerRole, float]:
    """Memory fractions by role; empty without a GPU, or if the student's size is unknown.

    The trainer is estimated with the longest rows that `data` allows, so that a discriminator server's fraction does
    not depend on the rows and the next job can share the server.
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
