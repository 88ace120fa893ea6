"""What a sweeper does to the database, step by step as `worker.sweeper` does it, without the trainers it would kill."""

from __future__ import annotations

from sqlalchemy.orm import Session

from store.jobs import claims, lifecycle

LOST = {"code": "worker_lost", "message": "the worker stopped renewing the job's lease", "category": "infra"}


def sweep(session: Session, backoff_s: float) -> None:
    """One round, without the claims that follow it."""
    lifecycle.apply_pending_intents(session)
    lifecycle.requeue_due(session)
    reap(session, backoff_s)


def reap(session: Session, backoff_s: float) -> None:
    """Take the jobs of silent holders."""
    for job_id, fence in lifecycle.expired(session):
        if claims.intents(session, job_id).cancel:
            lifecycle.cancelled(session, job_id, fence)
        else:
            lifecycle.retry_or_fail(session, job_id, fence, LOST, backoff_s)
        claims.end_attempt(session, job_id, fence, LOST["code"])
