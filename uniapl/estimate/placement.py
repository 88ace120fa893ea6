"""Placement of a job's processes on GPUs, and the share of its GPU that each server is started with.

Trainer and sampler on one GPU use it in turns: while the server samples, the trainer has neither gradients nor
activations nor AdamW's moments there, and during an update the server sleeps. The GPU must hold the larger phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil

from uniapl.estimate.activations import Device
from uniapl.estimate.resources import GpuRoom
from uniapl.estimate.servers import ASLEEP, Server
from uniapl.estimate.workload import Level
from uniapl.spec.backend import ServerRole
from uniapl.spec.estimate import Bytes, Gpu, Hardware, Process

UNKNOWN, MOST = 0.3, 0.95
"""Share of a server whose model's size is unknown; largest share of a server."""


@dataclass(frozen=True)
class GpuPlan:
    """One memory, of a GPU or of the machine, with the processes that would use it."""

    device: Device
    memory: int
    """Bytes."""
    phases: dict[str, dict[Process, Bytes]]
    """What each process takes, in the phases of a step that differ; each phase has all processes."""
    shares: dict[ServerRole, float]
    """Share of the GPU, for vLLM's `--gpu-memory-utilization`."""
    undersized: dict[ServerRole, int]
    """Servers whose share in the spec is less than these bytes, the minimum to start."""

    @property
    def taken(self) -> dict[Process, Bytes]:
        """The most that each process takes in any phase."""
        first, *others = self.phases.values()
        return {process: reduce(_most, (each[process] for each in others), size) for process, size in first.items()}

    @property
    def total(self) -> Bytes:
        """Sum over the processes in the largest phase."""
        return reduce(_most, (reduce(_plus, taken.values()) for taken in self.phases.values()))

    def fullest(self, level: Level) -> tuple[str, dict[Process, Bytes]]:
        """The largest phase at one level."""
        return max(self.phases.items(), key=lambda phase: sum(getattr(size, level) for size in phase[1].values()))


def place(
    hardware: Hardware, trainer: Bytes, servers: Mapping[ServerRole, Server], *, resting: Bytes | None = None
) -> list[GpuPlan]:
    """The memories of a worker that a job would use.

    Servers of a machine without a GPU are left out: their environment is unknown.

    Args:
        hardware: the worker.
        trainer: memory of the trainer at its peak.
        servers: the servers beside it.
        resting: memory of the trainer while a server samples; by default as much as at its peak.
    """
    machine = GpuPlan("cpu", hardware.memory_bytes, {"": {"trainer": trainer}}, {}, {})
    plans = [] if trains_on_gpu(hardware) else [machine]
    if not hardware.gpus:
        return plans
    order: list[Process] = [*servers] if plans else ["trainer", *servers]
    places = {process: gpu_index(process, hardware.gpus) for process in order}
    return plans + [
        _gpu_plan(
            gpu.memory_bytes,
            trainer if places.get("trainer") == index else None,
            resting or trainer,
            {role: server for role, server in servers.items() if places[role] == index},
        )
        for index, gpu in enumerate(hardware.gpus)
        if index in places.values()
    ]


def trains_on_gpu(hardware: Hardware) -> bool:
    """Whether trainers may use a GPU; `UNIAPL_TRAINER_DEVICES=-1` forbids it."""
    return any("trainer" in gpu.processes for gpu in hardware.gpus)


def trainer_room(hardware: Hardware, servers: Mapping[ServerRole, Server]) -> GpuRoom | None:
    """What the servers on the trainer's GPU leave during an update, at their least; `None` for a trainer without a GPU.

    A sampler sleeps meanwhile.
    """
    if not trains_on_gpu(hardware):
        return None
    index = gpu_index("trainer", hardware.gpus)
    memory = hardware.gpus[index].memory_bytes
    beside = {role: server for role, server in servers.items() if gpu_index(role, hardware.gpus) == index}
    taken = [ASLEEP.high if role == "rollout" else _least(server, memory) for role, server in beside.items()]
    return GpuRoom(memory - sum(taken), shared=bool(beside.keys() - {"rollout"}))


def _least(server: Server, memory: int) -> float:
    """Bytes that a server takes of a GPU at the least."""
    if server.fraction is not None or server.need is None:
        return memory * (server.fraction or UNKNOWN)
    return server.need.low


def gpu_index(process: Process, gpus: Sequence[Gpu]) -> int:
    """Index of the GPU that a process uses: the first of the largest that it may use."""
    allowed = [i for i, gpu in enumerate(gpus) if process in gpu.processes] or range(len(gpus))
    return max(allowed, key=lambda i: (gpus[i].memory_bytes, -i))


def _gpu_plan(memory: int, trainer: Bytes | None, resting: Bytes, servers: Mapping[ServerRole, Server]) -> GpuPlan:
    shares = _shares_in_turns(memory, trainer, resting, servers) if trainer else _shares(memory, memory, servers)
    taken: dict[Process, Bytes] = {}
    undersized: dict[ServerRole, int] = {}
    for role, server in servers.items():
        size = round(shares[role] * memory)
        least = server.need.low if server.need else size
        if server.fraction is None:
            taken[role] = Bytes(low=least, expected=max(least, size), high=max(least, size))
        else:
            taken[role] = Bytes(low=size, expected=size, high=size)
            undersized |= {role: least} if size < least else {}
    return GpuPlan("gpu", memory, _phases(trainer, resting, taken), shares, undersized)


def _phases(trainer: Bytes | None, resting: Bytes, servers: dict[Process, Bytes]) -> dict[str, dict[Process, Bytes]]:
    if trainer is None:
        return {"": servers}
    if "rollout" not in servers:
        return {"": {"trainer": trainer, **servers}}
    return {
        "while sampling": {"trainer": resting, **servers},
        "during an update": {"trainer": trainer, **servers, "rollout": ASLEEP},
    }


def _shares_in_turns(
    memory: int, trainer: Bytes, resting: Bytes, servers: Mapping[ServerRole, Server]
) -> dict[ServerRole, float]:
    """Shares beside the trainer.

    Other servers than the sampler get what both phases leave to them; the sampler gets the rest of its phase.
    """
    sampler: dict[ServerRole, Server] = {role: server for role, server in servers.items() if role == "rollout"}
    others: dict[ServerRole, Server] = {role: server for role, server in servers.items() if role != "rollout"}
    if not sampler:
        return _shares(memory - trainer.high, memory, others)
    sampling = _shares(memory - resting.high, memory, servers)
    updating = _shares(memory - trainer.high - ASLEEP.high, memory, others)
    found = {role: min(sampling[role], share) for role, share in updating.items()}
    return found | _shares(memory - resting.high - round(memory * sum(found.values())), memory, sampler)


def _shares(free: int, memory: int, servers: Mapping[ServerRole, Server]) -> dict[ServerRole, float]:
    """Each server gets its share in the spec; else all that it can use, or its minimum and a part of the rest.

    Args:
        free: bytes that the trainer leaves at its highest estimate; may be negative.
        memory: bytes of the GPU.
        servers: the servers on it.
    """
    fixed = {r: s.fraction or UNKNOWN for r, s in servers.items() if s.fraction or s.need is None}
    needs = {r: s.need for r, s in servers.items() if r not in fixed and s.need is not None}
    left = free - memory * sum(fixed.values()) - sum(need.low for need in needs.values())
    useful = sum(need.high - need.low for need in needs.values())
    part = min(1.0, max(0.0, left) / useful) if useful else 0.0
    sizes = {role: need.low + part * (need.high - need.low) for role, need in needs.items()}
    return fixed | {role: min(MOST, ceil(1000 * size / memory) / 1000) for role, size in sizes.items()}


def _most(a: Bytes, b: Bytes) -> Bytes:
    return Bytes(low=max(a.low, b.low), expected=max(a.expected, b.expected), high=max(a.high, b.high))


def _plus(a: Bytes, b: Bytes) -> Bytes:
    return Bytes(low=a.low + b.low, expected=a.expected + b.expected, high=a.high + b.high)
