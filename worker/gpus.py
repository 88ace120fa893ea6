"""GPUs of this machine as the NVIDIA Management Library (NVML) lists them, the library behind `nvidia-smi`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pynvml


@dataclass(frozen=True)
class PhysicalGpu:
    """One GPU; its place in the list is its number in PCI bus order, as in `nvidia-smi`."""

    name: str
    memory_bytes: int
    used_bytes: int
    """By all processes."""


def installed() -> Sequence[PhysicalGpu]:
    """Every GPU of this machine; none without a driver, or where the driver does not describe each of them."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_describe(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _describe(index: int) -> PhysicalGpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return PhysicalGpu(pynvml.nvmlDeviceGetName(handle), memory.total, memory.used)
