"""What this worker runs on: processors, memory within its container's limit, accelerators by `nvidia-smi`."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import psutil

from store.settings import Settings
from uniapl.spec.estimate import Process
from worker import process

CGROUPS = Path("/sys/fs/cgroup")
MIB = 1 << 20


def facts(settings: Settings) -> dict[str, Any]:
    """The columns of `store.tables.Worker` that say what it runs on."""
    return {
        "host": process.HOST,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_bytes": min([psutil.virtual_memory().total, *_limits(Path("/proc/self/cgroup"), CGROUPS)]),
        "gpus": gpus(settings),
        "slots": settings.worker_slots,
        "version": version("uniapl"),
    }


def _limits(own: Path, root: Path) -> list[int]:
    """Memory limits of the cgroup that a process is in and of those around it, version 2 and 1."""
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
    """The number in a file; none where it says `max`, or is not there."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def gpus(settings: Settings) -> list[dict[str, Any]]:
    """Accelerators with the processes that may use them, in the order in which those see them.

    `CUDA_VISIBLE_DEVICES` is heeded, the worker's own and what the settings make of it for each process; numbers of
    devices are, other names not.
    """
    given: dict[Process, str] = {
        "trainer": settings.trainer_devices,
        "discriminator": settings.discriminator_devices,
        "rollout": settings.rollout_devices,
    }
    rows, own = _rows(), os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = {process: _chosen(rows, devices or own) for process, devices in given.items()}
    return [
        {
            "name": rows[index][0],
            "memory_bytes": rows[index][1],
            "processes": [process for process, indexes in seen.items() if index in indexes],
        }
        for index in dict.fromkeys(chain.from_iterable(seen.values()))
    ]


def _rows() -> dict[str, tuple[str, int]]:
    """Name and memory of every accelerator, by its number."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return {}
    query = [command, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        return {
            index: (name, int(size) * MIB)
            for index, name, size in csv.reader(answer.splitlines(), skipinitialspace=True)
        }
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}


def _chosen(rows: dict[str, tuple[str, int]], visible: str | None) -> list[str]:
    """Numbers of the accelerators that a process sees."""
    if visible in ("", "-1"):
        return []
    wanted = [name.strip() for name in visible.split(",")] if visible else []
    return [index for index in wanted if index in rows] or list(rows)
