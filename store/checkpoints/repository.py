"""Checkpoint rows; a folder on disk without a row is garbage."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Exists, exists, select, update
from sqlalchemy.orm import Session

from store.db import now
from store.errors import NotFound
from store.tables import Checkpoint, Job, new_id


def commit(session: Session, job_id: str, fence: int, *, step: int, path: str, manifest_sha256: str, size: int) -> None:
    """Record a checkpoint; recording it again changes nothing. `path` is relative to the data folder."""
    known = session.scalar(
        select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.step == step, Checkpoint.fence == fence)
    )
    if known is None:
        session.add(
            Checkpoint(
                id=new_id("ckpt"),
                job_id=job_id,
                fence=fence,
                step=step,
                path=path,
                manifest_sha256=manifest_sha256,
                bytes=size,
            )
        )
        session.flush()


def mark_deleted(session: Session, checkpoint: Checkpoint) -> None:
    """Mark a checkpoint whose folder is missing, unusable, or about to be removed."""
    session.execute(update(Checkpoint).where(Checkpoint.id == checkpoint.id).values(deleted_at=now()))


def of_job(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """A job's checkpoints that are not deleted, newest first."""
    return session.scalars(
        select(Checkpoint)
        .where(Checkpoint.job_id == job_id, Checkpoint.deleted_at.is_(None))
        .order_by(Checkpoint.step.desc(), Checkpoint.fence.desc())
    ).all()


def steps_of_attempt(session: Session, job_id: str, fence: int) -> set[int]:
    """Steps of all checkpoints that an attempt has ever committed, deleted ones included."""
    query = select(Checkpoint.step).where(Checkpoint.job_id == job_id, Checkpoint.fence == fence)
    return set(session.scalars(query))


def get(session: Session, checkpoint_id: str) -> Checkpoint:
    """One checkpoint.

    Raises:
        NotFound: there is none, or it has been deleted.
    """
    checkpoint = session.get(Checkpoint, checkpoint_id)
    if checkpoint is None or checkpoint.deleted_at is not None:
        raise NotFound("checkpoint", checkpoint_id)
    return checkpoint


def final_exists() -> Exists:
    """Whether the checkpoint of the job's last step exists, as a condition on a statement over `Job`."""
    return exists().where(Checkpoint.job_id == Job.id, Checkpoint.step == Job.steps, Checkpoint.deleted_at.is_(None))


def has_final(session: Session, job_id: str) -> bool:
    """Whether the checkpoint of the job's last step exists."""
    return session.scalar(select(Job.id).where(Job.id == job_id, final_exists())) is not None
