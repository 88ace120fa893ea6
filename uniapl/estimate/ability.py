"""Whether a worker takes a job: the servers, the sampler and the libraries that its spec names."""

from __future__ import annotations

from collections.abc import Callable

from uniapl.estimate.libraries import has_libraries
from uniapl.estimate.model_shape import ModelShape, read_shape
from uniapl.estimate.sampler import Sources, has_servers, refuses_sampler
from uniapl.run.config import ModelSource
from uniapl.spec.estimate import Hardware
from uniapl.spec.job import JobSpec


def takes(
    spec: JobSpec,
    source_of: Sources,
    worker: Hardware,
    read: Callable[[ModelSource], ModelShape] = read_shape,
    *,
    keeps_sampler: bool = False,
) -> bool:
    """Whether a worker has what the spec names, and does not refuse its sampler; memory is not considered.

    Args:
        spec: the job.
        source_of: the sources of its models.
        worker: the worker's hardware, vLLM and libraries.
        read: returns the shape of a model; may raise `ShapeUnknown`.
        keeps_sampler: whether no worker refuses the job's sampler, see `store.jobs.claims.keeps_sampler`.
    """
    if not (has_servers(spec, worker) and has_libraries(spec, worker)):
        return False
    return keeps_sampler or not refuses_sampler(spec, source_of, worker, read)
