"""The command `uniapl admin doctor`: diagnosis of an installation, with a fix for each problem.

It reads the database, the data folder and this machine's processes, and modifies nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
from kombu import Connection as BrokerConnection
from pydantic import ValidationError
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from admin import machine
from admin.finding import Finding
from store import migrate
from store.artifacts.base import StorageUnavailable
from store.artifacts.paths import Artifacts
from store.db import EncodingNotSupported, make_engine, reading
from store.jobs import stats
from store.settings import Settings, unknown_settings
from store.states import ACTIVE, WAITING
from store.tables import Attempt, Checkpoint, Dataset, Job
from uniapl.estimate import ShapeUnknown, checkpoint_bytes
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec
from worker import process

LOW_DISK = 0.05
"""Minimum fraction of free disk space."""


def main(settings: Settings) -> int:
    """Print the machine and all findings; returns 1 if there are any."""
    facts, problems = machine.examine(settings)
    print(*(f"MACHINE  {fact}" for fact in facts), sep="\n")
    found = [*map(_unknown, unknown_settings()), *problems, *examine(settings)]
    for finding in found:
        print(f"PROBLEM  {finding.what}\n         {finding.remedy}")
    if not found:
        print("no problems found")
    return 1 if found else 0


def _unknown(problem: str) -> Finding:
    """A variable that is not a setting."""
    what, _, remedy = problem.partition("; ")
    return Finding(what, remedy)


def examine(settings: Settings) -> Iterator[Finding]:
    """All problems of the service, the most basic first."""
    yield from _data_folder(settings)
    engine = make_engine(settings.database)
    try:
        problem = _migrations(engine)
        if problem is not None:
            yield problem
            return
        artifacts = Artifacts.of(settings)
        with reading(engine) as session:
            yield from _leases(session, settings)
            yield from _orphans(session, artifacts)
            yield from _artifacts(session, artifacts)
            yield from _checkpoints(session, settings)
    except EncodingNotSupported as error:
        yield Finding(error.what, error.remedy)
    except SQLAlchemyError as error:
        yield Finding(f"the database is unreachable: {error}", "start it, or correct UNIAPL_DATABASE_URL")
    except StorageUnavailable as error:
        yield Finding(
            str(error),
            "correct UNIAPL_ARTIFACTS_URL and the AWS_… variables, or wait for the bucket; trainers continue meanwhile",
        )
    finally:
        engine.dispose()
    yield from _broker(settings)


def _data_folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.absolute()
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        yield Finding(f"the data folder {folder} is not writable", "create it, or correct UNIAPL_DATA_DIR")
        return
    usage = shutil.disk_usage(folder)
    if usage.free < LOW_DISK * usage.total:
        free = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.0f} GB"
        yield Finding(
            f"only {free} are free in {folder}", "free disk space; jobs are delayed while checkpoints do not fit"
        )


def _migrations(engine: Engine) -> Finding | None:
    with engine.connect() as connection:
        state = migrate.state(connection)
    if state in ("empty", "behind"):
        return Finding("migrations of this code are missing in the database", "run `uniapl admin db upgrade`")
    if state == "ahead":
        return Finding("the database is newer than this code", "upgrade the code")
    return None


def _leases(session: Session, settings: Settings) -> Iterator[Finding]:
    found = stats.read(session)
    grace = settings.lease_s + 2 * settings.sweep_s
    if found.expired_leases and found.oldest_lease_s > grace:
        yield Finding(
            f"{found.expired_leases} active jobs have no live worker, for up to {found.oldest_lease_s:.0f} s",
            "start a worker, which takes them over within one lease time, or see the worker's log",
        )
    if found.queue_age_s > grace and not any(found.jobs[state] for state in ACTIVE):
        yield Finding(f"a job has been queued for {found.queue_age_s:.0f} s, and no job is running", "start a worker")


def _orphans(session: Session, artifacts: Artifacts) -> Iterator[Finding]:
    """Trainers of this data folder that belong to no active job."""
    current = (Attempt.job_id == Job.id) & (Attempt.fence == Job.fence)
    query = select(Attempt.pgid).join(Job, current).where(Job.state.in_(ACTIVE), Attempt.boot_id == process.boot_id())
    recorded = set(session.scalars(query))
    folder = str((artifacts.root / "jobs").absolute())
    for found in psutil.process_iter(["cmdline", "status", "create_time"]):
        command = found.info["cmdline"] or []
        run = next((part for part in command if part.startswith(folder) and part.endswith("run.json")), None)
        if run is None or found.info["status"] == psutil.STATUS_ZOMBIE or found.pid in recorded:
            continue
        yield Finding(
            f"process {found.pid} trains {Path(run).parent.parent.name} without a worker that holds the job",
            f"repeat the check in a minute; if the process still exists, run: kill -9 -{found.pid}",
        )


def _artifacts(session: Session, artifacts: Artifacts) -> Iterator[Finding]:
    for row in session.scalars(select(Checkpoint).where(Checkpoint.deleted_at.is_(None))):
        if artifacts.objects.checkpoint_files(row.path) is None:
            where = artifacts.root / row.path
            yield Finding(f"checkpoint {row.id} is incomplete: {where}", "restore the folder, or delete the checkpoint")
    for dataset in session.scalars(select(Dataset).where(Dataset.deleted_at.is_(None))):
        where = artifacts.dataset(dataset.id)
        if artifacts.objects.size(artifacts.relative(where)) is None:
            yield Finding(f"dataset {dataset.id} ({dataset.name}) has no file: {where}", "restore the file")


def _checkpoints(session: Session, settings: Settings) -> Iterator[Finding]:
    """Whether the disk holds the checkpoints of the unfinished jobs, of which each attempt may run at any time."""
    if settings.artifacts_url or not settings.data_dir.is_dir():
        return
    needs = {
        job.id: _checkpoint_bytes(job) for job in session.scalars(select(Job).where(Job.state.in_((*ACTIVE, *WAITING))))
    }
    sizes = select(Checkpoint.job_id, func.sum(Checkpoint.bytes)).group_by(Checkpoint.job_id)
    rows = session.execute(sizes.where(Checkpoint.deleted_at.is_(None)))
    written = {row[0]: row[1] for row in rows}
    need = sum(max(0, size - written.get(job_id, 0)) for job_id, size in needs.items())
    free = shutil.disk_usage(settings.data_dir.absolute()).free
    if need > free:
        yield Finding(
            f"checkpoints of {len(needs)} unfinished jobs will take {need / 1e9:.1f} GB more, and {free / 1e9:.1f} GB "
            "are free",
            "free disk space, or lower schedule.keep_checkpoints; jobs are delayed while checkpoints do not fit",
        )


def _checkpoint_bytes(job: Job) -> int:
    """Bytes of a job's checkpoints; 0 where the student's size, or a newer spec, is unknown."""
    try:
        spec = JobSpec.model_validate(job.spec)
        return checkpoint_bytes(spec, ModelSource.model_validate(job.models[spec.student]))
    except (ShapeUnknown, KeyError, ValidationError):
        return 0


def _broker(settings: Settings) -> Iterator[Finding]:
    if settings.broker.startswith("filesystem:"):
        return
    try:
        with BrokerConnection(settings.broker, connect_timeout=2) as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
    except Exception as error:  # noqa: BLE001  (each transport has its own exceptions)
        remedy = "start it; until then jobs start up to UNIAPL_SWEEP_S later, without loss"
        yield Finding(f"the broker is unreachable: {error}", remedy)
