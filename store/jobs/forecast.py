"""Forecast of unfinished jobs: place in the queue, reason for waiting, estimated time of the remaining steps.

The number of queries does not depend on the number of jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store import workers
from store.db import now
from store.jobs import claims, step_rates
from store.states import ACTIVE, DUE, TERMINAL, State
from store.tables import Job
from store.tables import Worker as WorkerRow
from uniapl.estimate import refuses_sampler
from uniapl.spec.estimate import Hardware
from uniapl.spec.job import SPEC_VERSION, JobSpec
from uniapl.spec.stored import RawObject

_JOBS = Job.__table__.c
"""Columns of all tenants' jobs, which share the workers; only counts leave this module."""


@dataclass(frozen=True)
class JobForecast:
    """Forecast of one job; see the fields of `uniapl.spec.resources.Job`."""

    queue_position: int | None = None
    queue_reason: str | None = None
    eta_s: float | None = None


@dataclass(frozen=True)
class _Service:
    """Capacity and load of the workers."""

    workers: int
    slots: int
    busy: int
    """Active jobs."""
    clock: float
    hardware: Sequence[Hardware]


def forecast_jobs(
    session: Session, jobs: Mapping[str, tuple[Job, JobSpec | RawObject]], lease_s: float
) -> dict[str, JobForecast]:
    """The forecast of jobs, by id.

    Args:
        session: bound to a tenant; step times are taken from that tenant's jobs only.
        jobs: each row with its spec; a spec of a newer version is not compared with earlier jobs.
        lease_s: the configured lease, which determines which workers are alive.
    """
    rows = [row for row, _ in jobs.values() if row.state not in TERMINAL]
    if not rows:
        return {job_id: JobForecast() for job_id in jobs}
    alive = workers.alive(session, lease_s)
    service, places = _look(session, alive), _places(session, rows)
    step_s = step_rates.measured_step_s(session, [row.id for row in rows if row.step > 0])
    unmeasured = {row.id: jobs[row.id][1] for row in rows if row.id not in step_s}
    new = {job_id: spec for job_id, spec in unmeasured.items() if isinstance(spec, JobSpec)}
    if new and alive:
        step_s |= step_rates.of_twins(session, new, sorted({worker.host for worker in alive}))
    found = {
        row.id: JobForecast(
            queue_position=places.get(row.id),
            queue_reason=_reason(row, jobs[row.id][1], places.get(row.id), service),
            eta_s=(row.steps - row.step) * step_s[row.id] if row.id in step_s else None,
        )
        for row in rows
    }
    return {job_id: found.get(job_id, JobForecast()) for job_id in jobs}


def _look(session: Session, alive: Sequence[WorkerRow]) -> _Service:
    busy, clock = session.execute(select(func.count(_JOBS.id), now()).where(_JOBS.state.in_(ACTIVE))).one()
    hardware = [Hardware.model_validate(worker) for worker in alive]
    return _Service(len(alive), sum(worker.slots for worker in alive), busy, clock, hardware)


def _places(session: Session, rows: Sequence[Job]) -> dict[str, int]:
    """Places in the queue, in the order in which workers of this release claim jobs (`lifecycle.queued`)."""
    queued = [row for row in rows if row.state == State.QUEUED]
    if not queued:
        return {}
    place = func.row_number().over(order_by=(_JOBS.created_at, _JOBS.id)).label("place")
    claimable = (
        _JOBS.cancel_requested_at.is_(None),
        _JOBS.pause_requested_at.is_(None),
        _JOBS.spec_version <= SPEC_VERSION,
    )
    before = _JOBS.created_at <= max(row.created_at for row in queued)
    queue = select(_JOBS.id, place).where(_JOBS.state == State.QUEUED, *claimable, before).subquery()
    wanted = select(queue.c.id, queue.c.place).where(queue.c.id.in_([row.id for row in queued]))
    return {row.id: row.place for row in session.execute(wanted)}


def _reason(row: Job, spec: JobSpec | RawObject, place: int | None, service: _Service) -> str | None:
    if row.state in DUE and row.spec_version > SPEC_VERSION:
        return f"spec version {row.spec_version} requires workers of a newer release"
    if place is None and row.state != State.RETRY_WAIT:
        return None
    if not service.workers and not service.busy:
        return "no worker is connected"
    if place is None:
        return (
            f"the last attempt failed; retrying in at least {max(0.0, (row.not_before or 0.0) - service.clock):.0f} s"
        )
    if place > 1:
        return f"{place - 1} {'job' if place == 2 else 'jobs'} ahead"
    if service.busy >= service.slots:
        return "every worker is busy"
    return _selective(row, spec, service.hardware) or "a worker is about to claim it"


def _selective(row: Job, spec: JobSpec | RawObject, hardware: Sequence[Hardware]) -> str | None:
    """Why some workers leave the first job of the queue to others; `None` where none does."""
    if not isinstance(spec, JobSpec) or claims.keeps_sampler(row, earlier=row.attempt):
        return None
    models = claims.MODELS.validate_python(row.models)
    takers = sum(not refuses_sampler(spec, models.__getitem__, worker) for worker in hardware)
    if takers == len(hardware):
        return None
    return f"{takers} of {len(hardware)} workers sample in the trainer's process, as rollout.backend requires"
