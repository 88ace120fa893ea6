"""What this worker runs on: processors, memory within its container's limit, accelerators by `nvidia-smi`."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from worker import process

CGROUPS = Path("/sys/fs/cgroup")
MIB = 1 << 20


def facts(slots: int) -> dict[str, Any]:
    """The columns of `store.tables.Worker` that say what it runs on."""
    return {
        "host": process.HOST,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_bytes": min([psutil.virtual_memory().total, *_limits(Path("/proc/self/cgroup"), CGROUPS)]),
        "gpus": gpus(os.environ.get("CUDA_VISIBLE_DEVICES")),
        "slots": slots,
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


def gpus(visible: str | None) -> list[dict[str, Any]]:
    """Accelerators, in the order in which a job would see them.

    Args:
        visible: `CUDA_VISIBLE_DEVICES`, which the trainer inherits; numbers of devices are heeded, other names not.
    """
    command = shutil.which("nvidia-smi")
    if command is None or visible in ("", "-1"):
        return []
    query = [command, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        rows = {
            index: (name, int(size) * MIB)
            for index, name, size in csv.reader(answer.splitlines(), skipinitialspace=True)
        }
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    wanted = [name.strip() for name in visible.split(",")] if visible else list(rows)
    chosen = [rows[index] for index in wanted if index in rows] or list(rows.values())
    return [{"name": name, "memory_bytes": size} for name, size in chosen]
