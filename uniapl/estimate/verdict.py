"""Does it fit? What would lie in each memory, against what workers have."""

from __future__ import annotations

from collections.abc import Sequence

from uniapl.estimate.memory import Device
from uniapl.estimate.placement import GpuPlan
from uniapl.spec.estimate import Hardware, Verdict

Placed = tuple[Hardware, list[GpuPlan]]
"""A worker, with its memories that a job would use."""


def device_of(hardware: Hardware) -> Device:
    """Where a job's models would lie."""
    return "gpu" if hardware.gpus else "cpu"


def best(placed: Sequence[Placed]) -> Placed:
    """The worker that suits best, of at least one: it can hold the job, and its fullest memory has the most room."""
    return max(placed, key=lambda pair: (misfit_of(pair[1]) is None, _room(_fullest(pair[1]))))


def misfit_of(plans: Sequence[GpuPlan]) -> tuple[str, str] | None:
    """Why a worker cannot hold even the least of a job: the field at fault, and that in words."""
    for plan in plans:
        for role, least in plan.undersized.items():
            given = f"{plan.shares[role]:g} of {gigabytes(plan.memory)}"
            why = f"the {role} server needs at least {gigabytes(least)}, and its gpu_memory_fraction gives it {given}"
            return f"{role}.backend.gpu_memory_fraction", why
        if plan.total.low > plan.memory:
            need = f"it needs at least {gigabytes(plan.total.low)}{_parts(plan, 'low')}"
            return "resources", f"{need}, and {_where(plan)} has {gigabytes(plan.memory)}"
    return None


def judge(hardware: Hardware, plans: Sequence[GpuPlan]) -> tuple[Verdict, str]:
    """The verdict on a worker, by the fullest of its memories that a job would use, and that in words."""
    if (found := misfit_of(plans)) is not None:
        return "does_not_fit", found[1]
    plan = _fullest(plans)
    has, total, where = plan.memory, plan.total, _where(plan)
    range_ = f"between {gigabytes(total.low)} and {gigabytes(total.high)}"
    expected = f"{gigabytes(total.expected)} are expected, {range_}{_parts(plan, 'expected')}"
    if total.high > has:
        likely = "probably will" if total.expected > has else "may"
        return "tight", f"{expected}, and {where} has {gigabytes(has)}: it {likely} run out of memory"
    if hardware.slots * total.expected > has:
        return "tight", f"{expected}; {where} has {gigabytes(has)}, which {hardware.slots} jobs at once may share"
    return "fits", f"{expected}, and {where} has {gigabytes(has)}"


def gigabytes(size: int) -> str:
    """For people: `3.2 GB`."""
    return f"{size / 1e9:.1f} GB"


def _fullest(plans: Sequence[GpuPlan]) -> GpuPlan:
    return min(plans, key=_room)


def _room(plan: GpuPlan) -> int:
    return plan.memory - plan.total.expected


def _where(plan: GpuPlan) -> str:
    return "the largest worker's GPU" if plan.device == "gpu" else "the largest worker"


def _parts(plan: GpuPlan, level: str) -> str:
    """Whose it is, where several processes share a memory, or a server has it for itself."""
    if list(plan.taken) == ["trainer"]:
        return ""
    sizes = {process: getattr(size, level) for process, size in plan.taken.items()}
    return f" ({', '.join(f'{process} {gigabytes(size)}' for process, size in sizes.items())})"
