"""The resource estimate of a job: gathers rows, models and workers for `uniapl.estimate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from api.admission import lookup
from api.auth import Caller
from api.deps import Service
from store import workers
from store.artifacts.base import StorageUnavailable
from store.jobs import step_rates
from store.tables import Dataset
from uniapl.errors import SpecError, UniaplError
from uniapl.estimate import (
    Excess,
    JobInputs,
    MeasuredRate,
    ShapeUnknown,
    estimate_job,
    find_misfit,
    find_refused_sampler,
    missing_library,
    missing_vllm,
)
from uniapl.run.config import ModelSource
from uniapl.spec.estimate import Estimate, Hardware
from uniapl.spec.job import JobSpec

Sources = Mapping[str, ModelSource]
"""Locations of models, by their name in the spec."""


def estimate(caller: Caller, spec: JobSpec, sources: Sources) -> Estimate:
    """The estimate of a job against the workers that are alive.

    Args:
        caller: the tenant whose datasets and earlier jobs are read.
        spec: the job.
        sources: as `Checks.models` has them.

    Raises:
        SpecError: the spec names an unknown dataset.
    """
    service = caller.service
    with caller.reading() as session:
        datasets = _datasets(session, spec)
        alive = workers.alive(session, service.settings.lease_s)
        rate = step_rates.rate(session, spec, sorted({row.host for row in alive}))
    hardware = [Hardware.model_validate(row) for row in alive]
    measured = MeasuredRate(rate.token_s, rate.completion_tokens, rate.steps) if rate is not None else None
    return estimate_job(_inputs(service, spec, sources, datasets), hardware, measured)


def misfit(caller: Caller, spec: JobSpec, sources: Sources) -> UniaplError | None:
    """Why no live worker can run a job: none has vLLM or a library, all refuse its sampler, or none has the memory.

    What is not known counts as fitting.

    Unknown datasets are left to the checks that report them. Of many jobs that differ in name and seed only, as in a
    sweep, one is computed.
    """
    service = caller.service
    snapshot = service.worker_cache.get()
    if not snapshot.hardware:
        return None
    if (missing := missing_vllm(spec, snapshot.hardware) or missing_library(spec, snapshot.hardware)) is not None:
        return missing
    key = f"{caller.tenant}\n{spec.model_dump_json(exclude={'name', 'seed'})}"
    if key in snapshot.fitting:
        return None
    try:
        with caller.reading() as session:
            datasets = _datasets(session, spec)
        job = _inputs(service, spec, sources, datasets)
        error = find_refused_sampler(job, snapshot.hardware) or find_misfit(job, snapshot.hardware)
    except (SpecError, ShapeUnknown, OSError, StorageUnavailable):
        return None
    if error is None:
        snapshot.fitting.add(key)
    return error


def beyond_positions(caller: Caller, spec: JobSpec, sources: Sources) -> Excess | None:
    """The job's sequences beyond the student's positions; unknown datasets are left to the checks that report them."""
    try:
        with caller.reading() as session:
            datasets = _datasets(session, spec)
        return _inputs(caller.service, spec, sources, datasets).beyond_positions()
    except (SpecError, OSError, StorageUnavailable):
        return None


def _datasets(session: Session, spec: JobSpec) -> list[Dataset]:
    """Each entry's dataset.

    Raises:
        SpecError: one is unknown.
    """
    return [lookup.find_dataset(session, name, param) for param, name in lookup.mixed(spec)]


def _inputs(service: Service, spec: JobSpec, sources: Sources, datasets: Sequence[Dataset]) -> JobInputs:
    def files() -> list[tuple[Path, int]]:  # they may have to be fetched from the bucket: no transaction is open
        return [(service.artifacts.fetched(dataset.id), dataset.rows) for dataset in datasets]

    return JobInputs(spec, sources, files, service.registry.hub_config)
