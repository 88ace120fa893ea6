"""GPU queries by NVIDIA's management library (NVML), through nvidia-ml-py: GPUs, driver version, driver failures.

NVML ignores CUDA_VISIBLE_DEVICES. Without nvidia-ml-py this machine counts as one without a driver.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")
LIMIT_S = 10.0
"""Time limit of a query."""


@dataclass(frozen=True)
class PhysicalGpu:
    """One GPU that this process may access."""

    number: int
    """In PCI bus order, as in `nvidia-smi`; GPUs without access count too."""
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
    """The GPUs that this process may access; none without a driver, or where the driver does not describe them."""
    try:
        return _within_limit(_installed)
    except _QueryError:
        return []


def driver() -> Driver:
    """The driver and the names of its GPUs; `NO_DRIVER` without one."""
    try:
        return _within_limit(_driver)
    except _NoDriverError:
        return NO_DRIVER
    except _QueryError as error:
        return Driver(problem=str(error))


def keep_session() -> None:
    """Keep NVML initialised until this process ends: without a session, each query may load the driver anew, which
    takes a second per GPU."""
    with suppress(_QueryError):
        _within_limit(_initialised)


def _within_limit(query: Callable[[], T]) -> T:
    """Run a query in a thread that may be abandoned: a driver that hangs blocks its callers without limit."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(query())
        except Exception as error:  # noqa: BLE001  (raised by `result` in the caller)
            result.set_exception(error)

    threading.Thread(target=run, name="nvml", daemon=True).start()
    try:
        return result.result(LIMIT_S)
    except TimeoutError:
        raise _QueryError(f"NVML did not answer within {LIMIT_S:g} s") from None


def _installed() -> list[PhysicalGpu]:
    with _nvml() as nvml:
        return [_describe(nvml, number, handle) for number, handle in _handles(nvml)]


def _driver() -> Driver:
    with _nvml() as nvml:
        names = tuple(_name(nvml, handle) for _, handle in _handles(nvml))
        return Driver(names, _version(nvml), None if names else "NVML lists no GPU that this process may access")


@contextmanager
def _nvml() -> Iterator[ModuleType]:
    """The library, initialised.

    Raises:
        _NoDriverError: it is not installed.
        _QueryError: it, or a query in the block, fails.
    """
    nvml = _initialised()
    try:
        yield nvml
    except nvml.NVMLError as error:
        raise _QueryError(f"NVML failed: {error}") from error
    finally:
        nvml.nvmlShutdown()


def _initialised() -> ModuleType:
    try:
        import pynvml
    except ImportError as error:
        raise _NoDriverError from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound as error:
        raise _NoDriverError from error
    except pynvml.NVMLError as error:
        raise _QueryError(f"NVML failed: {error}") from error
    nvml: ModuleType = pynvml
    return nvml


def _handles(nvml: ModuleType) -> Iterator[tuple[int, object]]:
    """Numbers and handles; NVML counts GPUs that a container may not access, and refuses their handles."""
    for number in range(nvml.nvmlDeviceGetCount()):
        try:
            yield number, nvml.nvmlDeviceGetHandleByIndex(number)
        except nvml.NVMLError:
            continue


def _describe(nvml: ModuleType, number: int, handle: object) -> PhysicalGpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return PhysicalGpu(number, nvml.nvmlDeviceGetName(handle), memory.total, memory.used)


def _name(nvml: ModuleType, handle: object) -> str:
    try:
        return str(nvml.nvmlDeviceGetName(handle))
    except nvml.NVMLError:
        return "NVIDIA GPU"


def _version(nvml: ModuleType) -> str | None:
    try:
        return str(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:
        return None
