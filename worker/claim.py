"""Claiming a job for this worker."""

from __future__ import annotations

from functools import partial

from pydantic import ValidationError
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError
from sqlalchemy.orm import Session

from store import workers
from store.artifacts.base import StorageUnavailable
from store.db import unit_of_work
from store.jobs import claims, lifecycle
from store.jobs.claims import MODELS, Claim
from store.tables import Job
from uniapl.estimate import takes
from uniapl.spec.estimate import Hardware
from uniapl.spec.job import JobSpec
from worker import process
from worker.slots import WorkerProcess

OUTAGE = (OperationalError, InterfaceError, TimeoutError, StorageUnavailable)
"""Errors while the database or the bucket is unreachable, or the connection pool is exhausted."""


def claim_job(worker: WorkerProcess, job_id: str) -> Claim | None:
    """The claim of a queued job; `None` when it is not claimable.

    A job whose claim cannot be written because its rows are corrupt is skipped for a while.
    """
    try:
        return _claim(worker, job_id)
    except OUTAGE:
        raise
    except Exception:
        worker.set_aside(job_id)
        raise


def _claim(worker: WorkerProcess, job_id: str) -> Claim | None:
    fences = worker.artifacts.fences(job_id)
    with unit_of_work(worker.engine) as session:
        if _is_for_others(worker, session, job_id):
            worker.set_aside(job_id)
            return None
        return lifecycle.claim(
            session,
            job_id,
            owner=worker.owner,
            host=process.HOST,
            boot_id=process.boot_id(),
            lease_s=worker.settings.lease_s,
            above=fences[-1] if fences else 0,
        )


def _is_for_others(worker: WorkerProcess, session: Session, job_id: str) -> bool:
    """Whether another live worker has what the job needs (vLLM, its sampler, a library), and this one has not."""
    job = session.get(Job, job_id)
    if job is None:
        return False
    try:
        spec, models = JobSpec.model_validate(job.spec), MODELS.validate_python(job.models)
    except ValidationError:  # the attempt will report it
        return False
    if not spec.servers and spec.rollout.backend is None and spec.optimizer.moments == "float32":
        return False  # nothing that a worker can lack
    able = partial(takes, spec, models.__getitem__, keeps_sampler=claims.keeps_sampler(job, earlier=job.attempt))
    if able(worker.hardware()):
        return False
    alive = workers.alive(session, worker.settings.lease_s)
    return any(able(Hardware.model_validate(row)) for row in alive)
