"""The command `uniapl admin doctor`: diagnosis of an installation, with a fix for each problem.

It reads the database, the data folder and this machine's processes, and modifies nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
from kombu import Connection as BrokerConnection
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from store import migrate
from store.artifacts.base import StorageUnavailable
from store.artifacts.paths import Artifacts
from store.db import EncodingNotSupported, make_engine, reading
from store.jobs import stats
from store.settings import Settings
from store.states import ACTIVE
from store.tables import Attempt, Checkpoint, Dataset, Job
from uniapl.run import gpus
from worker import process
from worker.vllm.devices import visible

ROOT = Path(__file__).parent.parent
LOW_DISK = 0.05
"""Minimum fraction of free disk space."""


@dataclass(frozen=True)
class Finding:
    """One problem and its fix."""

    what: str
    remedy: str


def main(settings: Settings) -> int:
    """Print all findings; returns 1 if there are any."""
    found = list(examine(settings))
    for finding in found:
        print(f"PROBLEM  {finding.what}\n         {finding.remedy}")
    if not found:
        print("no problems found")
    return 1 if found else 0


def examine(settings: Settings) -> Iterator[Finding]:
    """All problems, the most basic first."""
    yield from _data_folder(settings)
    yield from _gpu(settings)
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


def _gpu(settings: Settings) -> Iterator[Finding]:
    """Whether trainers on this machine can use its GPU, checked with torch in a separate process."""
    if gpus.driver() == gpus.NO_DRIVER or find_spec("torch") is None:
        return
    environment = {**os.environ, **visible(settings, "trainer")}
    command = [sys.executable, "-m", "uniapl.model.device"]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        what, _, remedy = answer.stdout.strip().partition("\n")
        last_line = answer.stderr.strip().rpartition("\n")[2]
        yield Finding(what or f"torch cannot be imported: {last_line}", remedy or "run `make install` again")


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


def _broker(settings: Settings) -> Iterator[Finding]:
    if settings.broker.startswith("filesystem:"):
        return
    try:
        with BrokerConnection(settings.broker, connect_timeout=2) as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
    except Exception as error:  # noqa: BLE001  (each transport has its own exceptions)
        remedy = "start it; until then jobs start up to UNIAPL_SWEEP_S later, without loss"
        yield Finding(f"the broker is unreachable: {error}", remedy)
