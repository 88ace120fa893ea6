"""Claiming a job for this worker."""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError
from sqlalchemy.orm import Session

from store import workers
from store.artifacts.base import StorageUnavailable
from store.db import unit_of_work
from store.jobs import lifecycle
from store.jobs.claims import Claim
from store.tables import Job
from uniapl.spec.job import JobSpec
from worker import process
from worker.hardware import bitsandbytes
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
    """Whether the job needs vLLM or bitsandbytes, and another live worker has what this one lacks."""
    if worker.vllm is not None and bitsandbytes() is not None:
        return False
    job = session.get(Job, job_id)
    try:
        spec = JobSpec.model_validate(job.spec) if job is not None else None
    except ValidationError:  # the attempt will report it
        return False
    if spec is None:
        return False

    def able(vllm: str | None, library: str | None) -> bool:
        return (not spec.servers or vllm is not None) and (spec.optimizer.moments != "8bit" or library is not None)

    if able(worker.vllm, bitsandbytes()):
        return False
    return any(able(row.vllm, row.bitsandbytes) for row in workers.alive(session, worker.settings.lease_s))
