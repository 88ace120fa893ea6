"""Hardware of this worker: processors, memory within its container's limit, and GPUs."""

from __future__ import annotations

import os
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import psutil

from store.settings import Settings
from uniapl.run.gpus import installed
from uniapl.spec.estimate import Process
from worker import process

CGROUPS = Path("/sys/fs/cgroup")


def facts(settings: Settings) -> dict[str, Any]:
    """The hardware columns of `store.tables.Worker`."""
    return {
        "host": process.HOST,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_bytes": min([psutil.virtual_memory().total, *_limits(Path("/proc/self/cgroup"), CGROUPS)]),
        "gpus": gpus(settings),
        "slots": settings.worker_slots,
        "version": version("uniapl"),
    }


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
    """GPUs with the processes that may use them, in the order in which those processes see them.

    `CUDA_VISIBLE_DEVICES` applies: the worker's own, and the one that the settings give each process. Numbers of
    devices are understood, other names are not.
    """
    given: dict[Process, str] = {
        "trainer": settings.trainer_devices,
        "discriminator": settings.discriminator_devices,
        "rollout": settings.rollout_devices,
    }
    found, own = {str(gpu.number): gpu for gpu in installed()}, os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = {process: _visible(list(found), devices or own) for process, devices in given.items()}
    return [
        {
            "name": found[number].name,
            "memory_bytes": found[number].memory_bytes,
            "processes": [process for process, numbers in seen.items() if number in numbers],
        }
        for number in dict.fromkeys(chain.from_iterable(seen.values()))
    ]


def _visible(numbers: list[str], visible: str | None) -> list[str]:
    """Numbers of the GPUs that a process sees with this `CUDA_VISIBLE_DEVICES`."""
    if visible in ("", "-1"):
        return []
    wanted = [name.strip() for name in visible.split(",")] if visible else []
    return [number for number in wanted if number in numbers] or numbers
