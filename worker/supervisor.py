"""One attempt: claim the job, run the trainer beside us, relay its reports, and settle how it ended.

The Celery task lives as long as the attempt, and the trainer dies with this thread (PR_SET_PDEATHSIG), so a job never
has two living trainers on one machine.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, select, update
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError, TimeoutError
from sqlalchemy.orm import Session

from store import checkpoints, jobs
from store.artifacts import Artifacts
from store.db import reading, unit_of_work
from store.errors import FenceLost
from store.jobs import Hold
from store.settings import Settings
from store.tables import Attempt, Checkpoint, new_id
from uniapl.errors import CheckpointError
from uniapl.spec.run import RunConfig
from worker import process
from worker.failures import (
    EXIT_DONE,
    EXIT_REQUEUE,
    Failure,
    classify,
    no_final_checkpoint,
    worker_error,
)
from worker.relay import Relay

POLL_S, INTENT_S = 0.2, 1.0
OUTAGE = (OperationalError, InterfaceError, TimeoutError)
"""What SQLAlchemy raises while the database is out of reach, or its pool is exhausted."""
ROOT = Path(__file__).parent.parent
logger = logging.getLogger(__name__)


@dataclass
class Worker:
    """What every attempt of one worker process shares."""

    settings: Settings
    engine: Engine
    owner: str = field(default_factory=lambda: new_id("worker"))
    """Random for each process: a host name would let a restarted worker pass for its predecessor."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the worker drains."""
    active: set[str] = field(default_factory=set)
    """Jobs it holds."""

    @property
    def free_slots(self) -> int:
        """How many more jobs it could take now."""
        return 0 if self.stopping.is_set() else self.settings.worker_slots - len(self.active)

    @property
    def artifacts(self) -> Artifacts:
        """Paths on disk."""
        return Artifacts(self.settings.data_dir)


def run_attempt(worker: Worker, job_id: str) -> None:
    """Take the job if it is there to be taken, and see one attempt through.

    A job that another worker holds, that is over, or that does not exist is left alone.
    """
    if worker.stopping.is_set():
        return
    with unit_of_work(worker.engine) as session:
        hold = jobs.claim(
            session,
            job_id,
            owner=worker.owner,
            host=process.HOST,
            boot_id=process.boot_id(),
            lease_s=worker.settings.lease_s,
        )
    if hold is None:
        logger.info("%s is not there to be taken", job_id)
        return
    logger.info("%s: attempt %d under fence %d", job_id, hold.attempt, hold.fence)
    worker.active.add(job_id)
    try:
        _Attempt(worker, hold).run()
    except FenceLost as lost:
        logger.warning("%s", lost)
    except Exception as error:  # a bug or a broken machine: say so now, rather than fall silent for a lease
        logger.exception("%s: attempt %d failed on our side", job_id, hold.attempt)
        _give_up(worker, hold, error)
    finally:
        worker.active.discard(job_id)


def _give_up(worker: Worker, hold: Hold, error: Exception) -> None:
    """The attempt failed on the worker's side; if even this cannot be written, the lease will run out."""
    failure = worker_error(error)
    try:
        with unit_of_work(worker.engine) as session:
            told = failure.model_dump(mode="json")
            jobs.retry_or_fail(session, hold.job_id, hold.fence, told, worker.settings.retry_backoff_s)
            jobs.end_attempt(session, hold.job_id, hold.fence, failure.code)
    except (FenceLost, SQLAlchemyError) as error:
        logger.warning("%s: %s", hold.job_id, error)


class _Attempt:
    def __init__(self, worker: Worker, hold: Hold) -> None:
        self._worker = worker
        self._settings = worker.settings
        self._engine = worker.engine
        self._hold = hold
        self._folder = worker.artifacts.attempt(hold.job_id, hold.fence).absolute()
        self._log = self._folder / "trainer.log"
        self._relay = Relay(worker.engine, hold, self._folder / "reports.jsonl", worker.artifacts)
        self._resumed: Checkpoint | None = None
        self._cancelling = False
        self._lost = threading.Event()

    def run(self) -> None:
        """From the granted claim to a settled attempt.

        Raises:
            FenceLost: the job was taken from us; the trainer is dead and nothing more was written.
        """
        self._bury_predecessor()
        self._folder.mkdir(parents=True, exist_ok=True)
        run = self._run_config()
        (self._folder / "run.json").write_text(run.model_dump_json(indent=2))
        child = self._start()
        try:
            self._record_group(child)
            with self._heartbeat():
                status = self._follow(child)
                self._insist(self._relay_the_rest)
                self._insist(lambda: self._settle(status))
        finally:
            process.kill_group(child.pid)  # also when we fail: nothing may be left
            child.wait()

    def _bury_predecessor(self) -> None:
        """Kill what a dead worker may have left of the attempt before this one."""
        with reading(self._engine) as session:
            before = session.scalar(
                select(Attempt)
                .where(Attempt.job_id == self._hold.job_id, Attempt.fence < self._hold.fence)
                .order_by(Attempt.fence.desc())
                .limit(1)
            )
        if before is None or before.pgid is None:
            return
        if before.host == process.HOST and before.boot_id == process.boot_id():
            process.kill_group(before.pgid, started=before.pid_starttime)

    def _run_config(self) -> RunConfig:
        """The trainer's input: the spec, and where its parts lie here."""
        spec, artifacts = self._hold.spec, self._worker.artifacts
        names = {entry.dataset for entry in spec.dataset_mix}
        if spec.evaluation is not None:
            names.add(spec.evaluation.dataset)
        with unit_of_work(self._engine) as session:
            found = self._resumed = self._newest_checkpoint(session)
            session.execute(
                update(Attempt)
                .where(Attempt.job_id == self._hold.job_id, Attempt.fence == self._hold.fence)
                .values(resumed_from=found.id if found else None)
            )
        return RunConfig(
            spec=spec,
            run_dir=str(self._folder),
            datasets={name: str(artifacts.dataset(name).absolute()) for name in names},
            models=self._hold.models,
            resume_from=str((artifacts.root / found.path).absolute()) if found else None,
            teacher_cache=str(artifacts.teacher_cache().absolute()),
            keep_all_checkpoints=True,
        )

    def _newest_checkpoint(self, session: Session) -> Checkpoint | None:
        """The newest one that is still there: the attempt before may have died between deleting one and saying so."""
        for row in checkpoints.of_job(session, self._hold.job_id):
            if self._worker.artifacts.checkpoint_files(row.path) is not None:
                return row
            checkpoints.mark_deleted(session, row.job_id, row.fence, row.step)
        return None

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "uniapl", "train", str(self._folder / "run.json")]
        return process.start(
            [*command, "--parent-pid", str(os.getpid())],
            log=self._log,
            environment={**os.environ, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"},
            folder=ROOT,
        )

    def _record_group(self, child: subprocess.Popen[bytes]) -> None:
        """So that a later claimant can bury what we leave behind."""
        with unit_of_work(self._engine) as session:
            session.execute(
                update(Attempt)
                .where(Attempt.job_id == self._hold.job_id, Attempt.fence == self._hold.fence)
                .values(pgid=child.pid, pid_starttime=process.start_time(child.pid))
            )

    @contextmanager
    def _heartbeat(self) -> Iterator[None]:
        """Renew the lease in a thread of its own, whatever the relay is doing."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self._settings.heartbeat_s):
                try:
                    with unit_of_work(self._engine) as session:
                        jobs.renew(session, self._hold, self._settings.lease_s)
                except FenceLost:
                    self._lost.set()
                    return
                except SQLAlchemyError as error:
                    logger.warning("%s: could not renew the lease: %s", self._hold.job_id, error)

        thread = threading.Thread(target=beat, name=f"heartbeat-{self._hold.job_id}")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _follow(self, child: subprocess.Popen[bytes]) -> int:
        """Relay until the trainer has ended; returns its exit status."""
        drain_until: float | None = None
        look_at = 0.0
        while child.poll() is None:
            try:
                self._relay.pump()
                if time.monotonic() > look_at:
                    look_at = time.monotonic() + INTENT_S
                    self._cancelling = self._cancel_requested()
            except OUTAGE as error:  # the trainer goes on; its reports wait in their file
                logger.warning("%s: the database does not answer: %s", self._hold.job_id, error)
            if self._lost.is_set():
                raise FenceLost(self._hold.job_id, self._hold.fence)
            if self._cancelling:
                process.kill_group(child.pid)  # checkpoints are atomic, so no grace is needed
            if self._worker.stopping.is_set() and drain_until is None:
                child.terminate()  # finish the step, write a checkpoint, exit 75
                drain_until = time.monotonic() + self._settings.drain_s
            if drain_until is not None and time.monotonic() > drain_until:
                process.kill_group(child.pid)
            time.sleep(POLL_S)
        return child.returncode

    def _cancel_requested(self) -> bool:
        with reading(self._engine) as session:
            return jobs.cancel_requested(session, self._hold.job_id)

    def _relay_the_rest(self) -> None:
        while self._relay.pump():
            pass

    def _insist(self, write: Callable[[], None]) -> None:
        """Try until the database takes it, or the job is no longer ours.

        Raises:
            FenceLost: it is not.
        """
        while True:
            try:
                return write()
            except OUTAGE as error:
                logger.warning("%s: the database does not answer, trying again: %s", self._hold.job_id, error)
            if self._lost.wait(INTENT_S):
                raise FenceLost(self._hold.job_id, self._hold.fence)

    def _settle(self, status: int) -> None:
        """Turn the trainer's end into the job's next state."""
        hold, settings = self._hold, self._settings
        with unit_of_work(self._engine) as session:
            if status == EXIT_DONE and checkpoints.has_final(session, hold.job_id):
                kind = "done"
                jobs.succeed(session, hold)
            elif self._cancelling:
                kind = "cancelled"
                jobs.cancelled(session, hold.job_id, hold.fence)
            elif status == EXIT_REQUEUE or self._worker.stopping.is_set():
                kind = "preempted"
                who = "the worker is stopping" if self._worker.stopping.is_set() else "the trainer was asked to stop"
                jobs.preempt(session, hold, who)
            else:
                failure = self._failure(status)
                kind = failure.error.code
                error = failure.error.model_dump(mode="json")
                if kind == CheckpointError.code and (torn := self._resumed) is not None:
                    checkpoints.mark_deleted(
                        session, torn.job_id, torn.fence, torn.step
                    )  # the next attempt goes further back
                if failure.may_pass:
                    jobs.retry_or_fail(session, hold.job_id, hold.fence, error, settings.retry_backoff_s)
                else:
                    jobs.fail(session, hold.job_id, hold.fence, error)
            jobs.end_attempt(session, hold.job_id, hold.fence, kind)
        logger.info("%s: attempt %d ended: %s", hold.job_id, hold.attempt, kind)

    def _failure(self, status: int) -> Failure:
        log = process.tail(self._log)
        return no_final_checkpoint(log) if status == EXIT_DONE else classify(status, self._relay.error, log)
