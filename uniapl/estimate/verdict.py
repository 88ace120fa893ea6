"""The verdict on a job: memory that it needs against memory that workers have, with reasons."""

from __future__ import annotations

from collections.abc import Sequence

from uniapl.estimate.activations import Device
from uniapl.estimate.placement import GpuPlan, trains_on_gpu
from uniapl.estimate.workload import Level
from uniapl.spec.estimate import Hardware, Verdict

Placed = tuple[Hardware, list[GpuPlan]]
"""A worker, with the memories that a job would use."""


def device_of(hardware: Hardware) -> Device:
    """The device of the models that the trainer loads."""
    return "gpu" if trains_on_gpu(hardware) else "cpu"


def best(placed: Sequence[Placed]) -> Placed:
    """The best of at least one worker: it can hold the job, and its fullest memory has the most room."""
    return max(placed, key=lambda pair: (misfit_of(pair[1]) is None, _room(_fullest(pair[1]))))


def misfit_of(plans: Sequence[GpuPlan]) -> tuple[str, str] | None:
    """Why a worker cannot hold a job even at its lowest: the field at fault, and the reason."""
    for plan in plans:
        for role, least in plan.undersized.items():
            given = f"{plan.shares[role]:g} of {gigabytes(plan.memory)}"
            why = f"the {role} server needs at least {gigabytes(least)}; its gpu_memory_fraction gives it {given}"
            return f"{role}.backend.gpu_memory_fraction", why
        if plan.total.low > plan.memory:
            need = f"the job needs at least {gigabytes(plan.total.low)}{_parts(plan, 'low')}"
            return "resources", f"{need}; {_where(plan)} has {gigabytes(plan.memory)}"
    return None


def judge(hardware: Hardware, plans: Sequence[GpuPlan]) -> tuple[Verdict, str]:
    """The verdict on a worker, by its fullest memory that the job would use, and the reason."""
    if (misfit := misfit_of(plans)) is not None:
        return "does_not_fit", misfit[1]
    plan = _fullest(plans)
    has, total, where = plan.memory, plan.total, _where(plan)
    range_ = f"{gigabytes(total.low)} to {gigabytes(total.high)}{_parts(plan, 'expected')}"
    expected = f"{gigabytes(total.expected)} expected, {range_}; {where} has {gigabytes(has)}"
    if total.high > has:
        likely = "probably will" if total.expected > has else "may"
        return "tight", f"{expected}: the job {likely} run out of memory"
    if hardware.slots * total.expected > has:
        return "tight", f"{expected}, shared by up to {hardware.slots} jobs"
    return "fits", expected


def gigabytes(size: int) -> str:
    """Bytes as text: `3.2 GB`."""
    return f"{size / 1e9:.1f} GB"


def _fullest(plans: Sequence[GpuPlan]) -> GpuPlan:
    return min(plans, key=_room)


def _room(plan: GpuPlan) -> int:
    return plan.memory - plan.total.expected


def _where(plan: GpuPlan) -> str:
    return "the largest worker's GPU" if plan.device == "gpu" else "the largest worker"


def _parts(plan: GpuPlan, level: Level) -> str:
    """The share of each process in the largest phase, unless the trainer is the only one."""
    phase, taken = plan.fullest(level)
    if list(taken) == ["trainer"]:
        return ""
    sizes = ", ".join(f"{process} {gigabytes(getattr(size, level))}" for process, size in taken.items())
    return f" ({phase}: {sizes})" if phase else f" ({sizes})"
