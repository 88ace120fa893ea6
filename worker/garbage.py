"""What crashes leave on disk: unfinished checkpoints and uploads, and what was deleted; and answers past their time.

Only what nobody can want.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from sqlalchemy import Engine, select

from store import answers, uploads
from store.artifacts import Artifacts
from store.db import reading, unit_of_work
from store.states import TERMINAL
from store.tables import Checkpoint, Dataset, Job, Upload
from uniapl import manifest

UPLOAD_ABANDONED_S = 24 * 3600.0


def clear(engine: Engine, artifacts: Artifacts) -> None:
    """Remove the garbage of every job and upload; others may do the same at the same time."""
    with reading(engine) as session:
        fences = {job.id: job.fence for job in session.execute(select(Job.id, Job.fence))}
        over = set(session.scalars(select(Job.id).where(Job.state.in_(TERMINAL))))
        kept = set(session.scalars(select(Checkpoint.path).where(Checkpoint.deleted_at.is_(None))))
        deleted = set(session.scalars(select(Checkpoint.path).where(Checkpoint.deleted_at.is_not(None))))
    for job_id, fence in fences.items():
        for number in artifacts.fences(job_id):
            if number < fence or job_id in over:  # the newest attempt of a living job is still writing
                for path in artifacts.checkpoints(job_id, number).glob(".*.tmp"):
                    shutil.rmtree(path, ignore_errors=True)
            for path in _checkpoints(artifacts, job_id, number):
                name = artifacts.relative(path)
                if name in deleted or (job_id in over and name not in kept):
                    shutil.rmtree(path, ignore_errors=True)
    _clear_datasets(engine, artifacts)
    with unit_of_work(engine) as session:
        answers.forget_old(session)


def _clear_datasets(engine: Engine, artifacts: Artifacts) -> None:
    with unit_of_work(engine) as session:
        expired = uploads.expire(session)
        growing = {
            artifacts.upload(id_) for id_ in session.scalars(select(Upload.id).where(Upload.dataset_id.is_(None)))
        }
        deleted = list(session.scalars(select(Dataset.id).where(Dataset.deleted_at.is_not(None))))
    for path in [*map(artifacts.upload, expired), *map(artifacts.dataset, deleted)]:
        path.unlink(missing_ok=True)
    for path in artifacts.uploads():
        if path not in growing and _age_s(path) > UPLOAD_ABANDONED_S:
            path.unlink(missing_ok=True)


def _age_s(path: Path) -> float:
    """Seconds since a file was written; none if it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _checkpoints(artifacts: Artifacts, job_id: str, fence: int) -> list[Path]:
    folder = artifacts.checkpoints(job_id, fence)
    return [manifest.folder_of(folder, step) for step in manifest.steps_in(folder)]
