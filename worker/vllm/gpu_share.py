"""GPU memory fractions of the servers beside a trainer, from the estimate of the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from uniapl.estimate import plan
from uniapl.estimate.model_shape import ShapeUnknown, read_shape
from uniapl.estimate.placement import gpu_index, place, trainer_room
from uniapl.estimate.servers import sequences_that_fit, servers_of
from uniapl.run.config import ModelSource
from uniapl.spec.backend import ServerRole, VllmSampler
from uniapl.spec.estimate import Gpu, Hardware
from uniapl.spec.job import JobSpec


def shared_card(gpus: Sequence[Gpu]) -> bool:
    """Whether a sampling server uses the trainer's GPU."""
    return bool(gpus) and gpu_index("trainer", gpus) == gpu_index("rollout", gpus)


def other_card(gpus: Sequence[Gpu]) -> bool:
    """Whether trainer and sampling server use a GPU each."""
    return all(any(process in gpu.processes for gpu in gpus) for process in ("trainer", "rollout")) and not shared_card(
        gpus
    )


def shares(spec: JobSpec, models: Mapping[str, ModelSource], gpus: Sequence[Gpu]) -> dict[ServerRole, float]:
    """Memory fractions by role; empty without a GPU, or if the student's size is unknown.

    The trainer is estimated with the longest rows that `data` allows, so that a discriminator server's fraction does
    not depend on the rows and the next job can share the server.
    """
    if not gpus:
        return {}
    servers = servers_of(spec, models.__getitem__, read_shape)
    here = _machine(gpus)
    try:
        found = plan.read_models(spec, models.__getitem__, read_shape)
    except ShapeUnknown:
        return {}
    trainer = plan.memory(spec, found, plan.longest(spec), "gpu", trainer_room(here, servers))
    placed = place(here, trainer.total, servers, resting=plan.resting_memory(spec, found))
    return {role: share for card in placed for role, share in card.shares.items()}


def concurrent(
    spec: JobSpec, models: Mapping[str, ModelSource], gpus: Sequence[Gpu], found: Mapping[ServerRole, float]
) -> int | None:
    """Completions that the sampler's share in `found` holds; `None` without a sampler, a GPU or the student's size."""
    sampler = spec.servers.get("rollout")
    if not isinstance(sampler, VllmSampler) or "rollout" not in found:
        return None
    try:
        shape = read_shape(models[spec.student])
    except ShapeUnknown:
        return None
    memory = found["rollout"] * gpus[gpu_index("rollout", gpus)].memory_bytes
    return sequences_that_fit(spec, shape, sampler, memory)


def room_beside_servers(
    spec: JobSpec, models: Mapping[str, ModelSource], gpus: Sequence[Gpu]
) -> tuple[int | None, bool]:
    """`RunConfig.trainer_memory` and `RunConfig.awake_server`; without a server on the trainer's GPU the defaults.

    The trainer chooses its resources with them, as `shares` does.
    """
    servers = servers_of(spec, models.__getitem__, read_shape)
    room = trainer_room(_machine(gpus), servers)
    if room is None or not any(gpu_index(role, gpus) == gpu_index("trainer", gpus) for role in servers):
        return None, False
    return max(1, int(room.memory)), room.shared


def _machine(gpus: Sequence[Gpu]) -> Hardware:
    return Hardware(cpus=1, memory_bytes=0, gpus=list(gpus), slots=1)
