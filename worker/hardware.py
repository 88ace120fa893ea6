"""Hardware of this worker: processors, memory within its container's limit, and GPUs."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

import psutil

from store.settings import Settings
from uniapl.run.gpus import installed
from uniapl.run.visible_gpus import select
from uniapl.spec.estimate import Process
from worker import process

CGROUPS = Path("/sys/fs/cgroup")
PROCESSES: tuple[Process, ...] = ("trainer", "discriminator", "rollout")


def facts(settings: Settings) -> dict[str, Any]:
    """The hardware columns of `store.tables.Worker`."""
    return {
        "host": process.HOST,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_bytes": _memory(),
        "gpus": gpus(settings),
        "slots": settings.worker_slots,
        "version": version("uniapl"),
        "bitsandbytes": bitsandbytes(),
    }


@cache
def bitsandbytes() -> str | None:
    """Version of bitsandbytes in the environment of worker and trainers; `None` if it is not installed."""
    try:
        return version("bitsandbytes")
    except PackageNotFoundError:
        return None


def _memory() -> int:
    """Bytes that this worker may use."""
    return min([psutil.virtual_memory().total, *_limits(Path("/proc/self/cgroup"), CGROUPS)])


def _limits(own: Path, root: Path) -> list[int]:
    """Memory limits in bytes of a process's cgroup and of its ancestors, for cgroup versions 2 and 1."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base = root / controllers if controllers else root
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        folder = base / path.lstrip("/")
        for place in (folder, *folder.parents):
            if place.is_relative_to(base) and (limit := _number(place / name)) is not None:
                found.append(limit)
    return found


def _number(file: Path) -> int | None:
    """The number in a file; `None` for `max` or a missing file."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def gpus(settings: Settings) -> list[dict[str, Any]]:
    """GPUs and MIG slices with the processes that may use them, in the order in which those processes see them.

    `CUDA_VISIBLE_DEVICES` applies: the worker's own, and the one that the settings give each process. A GPU without
    memory of its own has the machine's.
    """
    found = installed()
    seen = {process: select(found, _visible(settings, process)) for process in PROCESSES}
    return [
        {
            "name": gpu.name,
            "memory_bytes": gpu.memory_bytes or _memory(),
            "uuid": gpu.uuid,
            "compute_capability": gpu.compute_capability,
            "processes": [process for process, devices in seen.items() if gpu in devices],
        }
        for gpu in dict.fromkeys(chain.from_iterable(seen.values()))
    ]


def devices_setting(settings: Settings, process: Process) -> str:
    """CUDA_VISIBLE_DEVICES that the operator sets for a process; empty for the worker's own."""
    return {
        "trainer": settings.trainer_devices,
        "discriminator": settings.discriminator_devices,
        "rollout": settings.rollout_devices,
    }[process]


def _visible(settings: Settings, process: Process) -> str | None:
    return devices_setting(settings, process) or os.environ.get("CUDA_VISIBLE_DEVICES")
