"""Cleanup of unreferenced files and expired rows.

Removes unfinished checkpoints and uploads, weights handed to samplers, deleted checkpoints and datasets, and expired
idempotent responses.
"""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import Engine, select

from store import idempotency
from store.artifacts.base import fence_of
from store.artifacts.local import remove_here
from store.artifacts.paths import Artifacts
from store.datasets import uploads
from store.db import reading, unit_of_work
from store.states import TERMINAL
from store.tables import Checkpoint, Dataset, Job, Upload
from uniapl.run.shared_memory import remove_abandoned

UPLOAD_ABANDONED_S = 24 * 3600.0


def clear(engine: Engine, artifacts: Artifacts) -> None:
    """Remove the garbage of every job and upload; safe to run concurrently with other workers."""
    with reading(engine) as session:
        fences = {job.id: job.fence for job in session.execute(select(Job.id, Job.fence))}
        over = set(session.scalars(select(Job.id).where(Job.state.in_(TERMINAL))))
        kept = set(session.scalars(select(Checkpoint.path).where(Checkpoint.deleted_at.is_(None))))
        deleted = set(session.scalars(select(Checkpoint.path).where(Checkpoint.deleted_at.is_not(None))))
    for path in artifacts.unfinished():
        name = artifacts.relative(path)
        job_id, fence = name.split("/")[1], fence_of(name)
        if fence is None:  # belongs to no attempt
            continue
        if job_id in over or fence < fences.get(job_id, 0):  # the newest attempt of an active job may still be writing
            remove_here(path)
    for name in artifacts.objects.checkpoints():
        job_id = name.split("/")[1]
        if name in deleted or (job_id in over and name not in kept):
            artifacts.objects.remove(name)
        elif job_id in over:
            artifacts.objects.evict(name)
    remove_abandoned()
    _clear_datasets(engine, artifacts)
    with unit_of_work(engine) as session:
        idempotency.delete_expired(session)


def _clear_datasets(engine: Engine, artifacts: Artifacts) -> None:
    with unit_of_work(engine) as session:
        expired = uploads.expire(session)
        growing = {
            artifacts.upload(id_) for id_ in session.scalars(select(Upload.id).where(Upload.dataset_id.is_(None)))
        }
        deleted = set(session.scalars(select(Dataset.id).where(Dataset.deleted_at.is_not(None))))
    for name in {artifacts.relative(artifacts.dataset(id_)) for id_ in deleted} & artifacts.objects.datasets():
        artifacts.objects.remove(name)
    for path in map(artifacts.upload, expired):
        path.unlink(missing_ok=True)
    for path in artifacts.uploads():
        if path not in growing and _age_s(path) > UPLOAD_ABANDONED_S:
            path.unlink(missing_ok=True)


def _age_s(path: Path) -> float:
    """Seconds since a file was last written; 0 if it does not exist."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
