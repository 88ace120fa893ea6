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


def nvmlDeviceGetHandleByIndex(index: int) -> Any:
    found = _machine("nvmlDeviceGetHandleByIndex")["gpus"][index]
    if found is None:
        raise NVMLError("Insufficient Permissions")
    return {"uuid": f"GPU-{index:08x}-0000", "cc": (9, 0), **found}


def nvmlDeviceGetName(handle: Any) -> str:
    return str(_of("nvmlDeviceGetName", handle)["name"])


def nvmlDeviceGetMemoryInfo(handle: Any) -> SimpleNamespace:
    size = _of("nvmlDeviceGetMemoryInfo", handle)["mib"]
    if size is None:
        raise NVMLError("Not Supported")
    return SimpleNamespace(total=size * MIB, used=MIB)


def nvmlDeviceGetUUID(handle: Any) -> str:
    return str(_of("nvmlDeviceGetUUID", handle)["uuid"])


def nvmlDeviceGetCudaComputeCapability(handle: Any) -> Any:
    if "cc" not in _of("nvmlDeviceGetCudaComputeCapability", handle):
        raise NVMLError("Not Supported")  # as for a MIG slice
    return tuple(handle["cc"])


def nvmlDeviceGetMigMode(device: Any) -> list[int]:
    if "slices" not in _of("nvmlDeviceGetMigMode", device):
        raise NVMLError("Not Supported")
    return [1, 1]


def nvmlDeviceGetMaxMigDeviceCount(device: Any) -> int:
    _of("nvmlDeviceGetMaxMigDeviceCount", device)
    return 7


def nvmlDeviceGetMigDeviceHandleByIndex(device: Any, index: int) -> Any:
    slices = _of("nvmlDeviceGetMigDeviceHandleByIndex", device)["slices"]
    if index >= len(slices) or slices[index] is None:
        raise NVMLError("Not Found")
    return slices[index]


def _of(function: str, handle: Any) -> Any:
    _machine(function)
    return handle
