"""GPU queries by NVIDIA's management library (NVML), through nvidia-ml-py: GPUs, driver version, driver failures.

NVML ignores CUDA_VISIBLE_DEVICES. Without nvidia-ml-py this machine counts as one without a driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class PhysicalGpu:
    """One GPU; its place in the list is its number in PCI bus order, as in `nvidia-smi`."""

    name: str
    memory_bytes: int
    used_bytes: int
    """By all processes."""


@dataclass(frozen=True)
class Driver:
    """State of NVIDIA's driver on this machine."""

    gpus: tuple[str, ...] = ()
    """Names of the GPUs that this process may access."""
    version: str | None = None
    problem: str | None = None
    """Why no GPU is listed, where NVML is installed."""


NO_DRIVER = Driver()


class _QueryError(Exception):
    """NVML fails."""


class _NoDriverError(_QueryError):
    """NVML, or nvidia-ml-py, is not installed."""


def installed() -> Sequence[PhysicalGpu]:
    """Every GPU of this machine; none without a driver, or where the driver does not describe each of them."""
    try:
        with _nvml() as nvml:
            return [_describe(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    except _QueryError:
        return []


def driver() -> Driver:
    """The driver and the names of its GPUs; `NO_DRIVER` without one."""
    try:
        with _nvml() as nvml:
            names = tuple(_names(nvml))
            version = _version(nvml)
    except _NoDriverError:
        return NO_DRIVER
    except _QueryError as error:
        return Driver(problem=str(error))
    return Driver(names, version, None if names else "NVML lists no GPU that this process may access")


@contextmanager
def _nvml() -> Iterator[ModuleType]:
    """The library, initialised.

    Raises:
        _NoDriverError: it is not installed.
        _QueryError: it, or a query in the block, fails.
    """
    try:
        import pynvml
    except ImportError as error:
        raise _NoDriverError from error
    try:
        pynvml.nvmlInit()
        try:
            yield pynvml
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError_LibraryNotFound as error:
        raise _NoDriverError from error
    except pynvml.NVMLError as error:
        raise _QueryError(f"NVML failed: {error}") from error


def _describe(nvml: ModuleType, index: int) -> PhysicalGpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return PhysicalGpu(nvml.nvmlDeviceGetName(handle), memory.total, memory.used)


def _names(nvml: ModuleType) -> Iterator[str]:
    """NVML counts GPUs that a container may not access, and refuses their handles."""
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError:
            continue
        try:
            yield nvml.nvmlDeviceGetName(handle)
        except nvml.NVMLError:
            yield "NVIDIA GPU"


def _version(nvml: ModuleType) -> str | None:
    try:
        return str(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:
        return None
