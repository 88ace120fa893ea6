"""Retention of checkpoints: the newest, the best, and every referenced one are kept."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Exists, exists, select
from sqlalchemy.orm import Session

from store.checkpoints import repository as checkpoints
from store.errors import Conflict, NotFound
from store.states import ACTIVE, TERMINAL
from store.tables import Alias, Attempt, Checkpoint, Job, Metric

QUALITY = ("eval/reward", "eval/reference_logprob")
"""Metrics that determine the best checkpoint: the highest value of the first one that was measured."""


def expire(session: Session, job_id: str, keep: int) -> Sequence[Checkpoint]:
    """Mark checkpoints as deleted that are neither among the newest `keep`, nor the best, nor referenced.

    The caller holds the job, and removes the folders after the commit.

    Returns:
        The marked checkpoints.
    """
    here = checkpoints.of_job(session, job_id)
    best = _best_step(session, job_id, {row.step for row in here})
    old = []
    for row in here[keep:]:
        if row.step != best:
            session.refresh(row, with_for_update=True)  # locked, so that no alias can point to it until this commits
            if row.deleted_at is None and not _referenced(session, row):
                checkpoints.mark_deleted(session, row)
                old.append(row)
    return old


def delete(session: Session, checkpoint_id: str) -> Checkpoint:
    """Mark a checkpoint as deleted on the user's request; the caller removes the folder after the commit.

    Raises:
        NotFound: there is none.
        Conflict: an alias names it, or its job may still resume from it.
    """
    row = checkpoints.get(session, checkpoint_id)
    job = session.get_one(
        Job, row.job_id, with_for_update=True
    )  # locked, so that no attempt can resume from it until this commits
    session.refresh(row, with_for_update=True)  # and no alias can point to it
    if row.deleted_at is not None:
        raise NotFound("checkpoint", checkpoint_id)  # deleted while waiting for the lock
    alias = session.scalar(select(Alias.name).where(Alias.checkpoint_id == row.id))
    if alias is not None:
        raise Conflict("checkpoint_in_use", f"alias {alias!r} names checkpoint {row.id}; promote another one first")
    newest = checkpoints.of_job(session, row.job_id)[0].id == row.id
    if (job.state not in TERMINAL and newest) or _referenced(session, row):
        raise Conflict("checkpoint_in_use", f"job {job.id} is {job.state} and resumes from checkpoint {row.id}")
    checkpoints.mark_deleted(session, row)
    return row


def _best_step(session: Session, job_id: str, steps: set[int]) -> int | None:
    for name in QUALITY:
        query = select(Metric.step).where(Metric.job_id == job_id, Metric.name == name, Metric.step.in_(steps))
        best = session.scalar(query.order_by(Metric.value.desc(), Metric.step.desc()).limit(1))
        if best is not None:
            return best
    return None


def _referenced(session: Session, row: Checkpoint) -> bool:
    named = exists().where(Alias.checkpoint_id == row.id)
    return bool(session.scalar(select(named | _resumed_from(row))))


def _resumed_from(row: Checkpoint) -> Exists:
    """Whether the current attempt resumed from it, and may still be reading it."""
    here = (Attempt.resumed_from == row.id) & (Job.id == Attempt.job_id) & (Job.fence == Attempt.fence)
    return exists().where(here, Job.state.in_(ACTIVE))
