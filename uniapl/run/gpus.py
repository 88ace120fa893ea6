"""GPU queries by NVIDIA's management library (NVML), through nvidia-ml-py: GPUs, driver version, driver failures.

NVML ignores CUDA_VISIBLE_DEVICES; `uniapl.run.visible_gpus` applies it. Without nvidia-ml-py this machine counts as one
without a driver. A query that a GPU does not support (memory on GB10, UUIDs on some virtual GPUs) gives `None`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")
LIMIT_S = 10.0
"""Time limit of a query."""


@dataclass(frozen=True)
class PhysicalGpu:
    """One GPU that this process may access, or one MIG slice of it, which CUDA treats as a device of its own."""

    number: int
    """In PCI bus order, as in `nvidia-smi`; GPUs without access count too. For a slice that of its GPU."""
    name: str
    memory_bytes: int | None
    """`None` where the GPU has no memory of its own: it then shares the machine's."""
    used_bytes: int | None
    """By all processes."""
    uuid: str | None = None
    """`GPU-…`, or `MIG-…` for a slice."""
    compute_capability: str | None = None
    """Such as `9.0`."""
    slice: int | None = None
    """Number of the slice within its GPU; `None` for a whole GPU."""

    @property
    def label(self) -> str:
        """`1`, or `1:0` for the first slice of GPU 1."""
        return f"{self.number}" if self.slice is None else f"{self.number}:{self.slice}"


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
    """The GPUs that this process may access, with MIG slices in place of their GPU; none without a driver, or where it
    fails."""
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
        return [gpu for number, handle in _handles(nvml) for gpu in _usable(nvml, number, handle)]


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


def _usable(nvml: ModuleType, number: int, handle: object) -> Iterator[PhysicalGpu]:
    """The GPU; if it is in MIG mode, CUDA can use its slices only."""
    mode = _query(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if mode is None or not mode[0]:
        yield _describe(nvml, number, handle)
        return
    capability = _capability(nvml, handle)  # NVML describes it for the whole GPU only
    for index in range(_query(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        found = _query(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        if found is not None:
            yield replace(_describe(nvml, number, found), slice=index, compute_capability=capability)


def _describe(nvml: ModuleType, number: int, handle: object) -> PhysicalGpu:
    memory = _query(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    return PhysicalGpu(
        number,
        _name(nvml, handle),
        memory and memory.total,
        memory and memory.used,
        _query(nvml, nvml.nvmlDeviceGetUUID, handle),
        _capability(nvml, handle),
    )


def _name(nvml: ModuleType, handle: object) -> str:
    return str(_query(nvml, nvml.nvmlDeviceGetName, handle) or "NVIDIA GPU")


def _capability(nvml: ModuleType, handle: object) -> str | None:
    version = _query(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    return f"{version[0]}.{version[1]}" if version else None


def _version(nvml: ModuleType) -> str | None:
    version = _query(nvml, nvml.nvmlSystemGetDriverVersion)
    return version and str(version)


def _query(nvml: ModuleType, function: Callable[..., Any], *arguments: object) -> Any:
    """The answer of one NVML function; `None` where the GPU or the driver does not support it."""
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return None
