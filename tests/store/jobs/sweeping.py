"""What a sweeper does to the database, step by step as `worker.sweeper` does it, without the trainers it would kill."""

from __future__ import annotations

from sqlalchemy.orm import Session

from store.jobs import claims as holding
from store.jobs import lifecycle as jobs

LOST = {"code": "worker_lost", "message": "the worker that held the job fell silent", "category": "infra"}


def sweep(session: Session, backoff_s: float) -> None:
    """One round, without the claims that follow it."""
    jobs.heed_intents_of_given_back(session)
    jobs.requeue_due(session)
    reap(session, backoff_s)


def reap(session: Session, backoff_s: float) -> None:
    """Take the jobs of silent holders."""
    for job_id, fence in jobs.expired(session):
        if holding.intents(session, job_id).cancel:
            jobs.cancelled(session, job_id, fence)
        else:
            jobs.retry_or_fail(session, job_id, fence, LOST, backoff_s)
        holding.end_attempt(session, job_id, fence, LOST["code"])
