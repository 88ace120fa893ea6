"""Optional libraries that an option of a spec needs on the worker."""

from __future__ import annotations

from collections.abc import Sequence

from uniapl.errors import LibraryMissingError
from uniapl.spec.estimate import Hardware
from uniapl.spec.job import JobSpec


def has_libraries(spec: JobSpec, worker: Hardware) -> bool:
    """Whether the trainers of a worker can import every library that the spec needs."""
    return spec.optimizer.moments == "float32" or worker.bitsandbytes is not None


def missing_library(spec: JobSpec, workers: Sequence[Hardware]) -> LibraryMissingError | None:
    """The error for a spec that needs a library which none of at least one worker has."""
    if not workers or any(has_libraries(spec, worker) for worker in workers):
        return None
    return LibraryMissingError.bitsandbytes("no live worker has it")
