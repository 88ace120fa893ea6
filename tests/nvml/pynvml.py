"""Stand-in for nvidia-ml-py: the GPUs and failures that the environment variable NVML_STAND_IN describes.

Machines with other GPUs than this one's, and drivers that fail, cannot be had for real. `tests.nvml.stand_in` sets it
up; with its folder on PYTHONPATH, child processes import it as `pynvml`.
"""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any

MIB = 1 << 20
sessions = 0
"""Calls of nvmlInit without their nvmlShutdown."""


class NVMLError(Exception):
    """Base class."""


class NVMLError_LibraryNotFound(NVMLError):
    """There is no driver."""


def _machine(function: str) -> dict[str, Any]:
    machine: dict[str, Any] = json.loads(os.environ["NVML_STAND_IN"])
    if machine["driver"] is None:
        raise NVMLError_LibraryNotFound("NVML Shared Library Not Found")
    if function in machine["failing"]:
        raise NVMLError("Not Supported")
    return machine


def nvmlInit() -> None:
    global sessions
    _machine("nvmlInit")
    sessions += 1


def nvmlShutdown() -> None:
    global sessions
    sessions -= 1


def nvmlSystemGetDriverVersion() -> str:
    return str(_machine("nvmlSystemGetDriverVersion")["driver"])


def nvmlDeviceGetCount() -> int:
    return len(_machine("nvmlDeviceGetCount")["gpus"])


def nvmlDeviceGetHandleByIndex(index: int) -> int:
    if _machine("nvmlDeviceGetHandleByIndex")["gpus"][index] is None:
        raise NVMLError("Insufficient Permissions")
    return index


def nvmlDeviceGetName(handle: int) -> str:
    return str(_machine("nvmlDeviceGetName")["gpus"][handle][0])


def nvmlDeviceGetMemoryInfo(handle: int) -> SimpleNamespace:
    return SimpleNamespace(total=_machine("nvmlDeviceGetMemoryInfo")["gpus"][handle][1] * MIB, used=MIB)
