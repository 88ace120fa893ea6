"""One attempt at a job: claim it, run its trainer, relay the reports, and record the outcome.

The trainer dies with the thread that started it (PR_SET_PDEATHSIG), so a job never has two live trainers on one
machine.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from store import logs
from store.access import keyring, secrets
from store.access.secrets import SecretUnusable
from store.access.url_allowlist import is_listed
from store.checkpoints import repository as checkpoints
from store.db import reading, unit_of_work
from store.errors import FenceLost
from store.jobs import claims, lifecycle
from store.jobs.claims import Claim, Intents
from store.tables import Checkpoint, Job
from uniapl import tracing
from uniapl.errors import SamplerRefusedError, VllmMissingError
from uniapl.run import atomic
from uniapl.run.config import RunConfig
from uniapl.spec.teacher import OpenAITeacher
from worker import metrics, process, recovery
from worker.attempt_servers import AttemptServers
from worker.claim import OUTAGE, claim_job
from worker.failures import Failure, no_sampler, oom_kills, secret_unusable, worker_error
from worker.lease import Lease
from worker.outcome import Outcome, TrainerEnd, outcome
from worker.report_relay import Relay
from worker.slots import WorkerProcess
from worker.stop import TrainerStop
from worker.vllm.devices import visible
from worker.watchdog import Watchdog

POLL_S, INTENT_S, DUMP_S = 0.2, 1.0, 2.0
LOG_LINES, HUNG_LOG_LINES = 20, 60
"""Last lines of the trainer's log in a job's error; those of a hung trainer include the stacks of its threads."""
ROOT = Path(__file__).parent.parent
TRAINER = (sys.executable, "-m", "uniapl", "train")
logger = logging.getLogger(__name__)
T = TypeVar("T")


def run_attempt(worker: WorkerProcess, job_id: str) -> bool:
    """Claim the job if it is claimable, and run one attempt.

    Nothing happens to a job that another worker holds, that has ended, or that does not exist.

    Returns:
        Whether the job was claimed.
    """
    claim = claim_job(worker, job_id)
    if claim is None:
        logger.info("%s is not claimable", job_id)
        return False
    facts: dict[str, str | int] = {"job_id": job_id, "attempt": claim.attempt, "fence": claim.fence}
    with logs.about(**facts), tracing.span("attempt", parent=claim.traceparent, **facts):
        logger.info("%s: attempt %d under fence %d", job_id, claim.attempt, claim.fence)
        _run_attempt(worker, claim)
    return True


def _run_attempt(worker: WorkerProcess, claim: Claim) -> None:
    try:
        _Attempt(worker, claim).run()
    except FenceLost as lost:
        metrics.fences_lost.inc()
        logger.warning("%s", lost)
    except SecretUnusable as error:
        logger.warning("%s: %s", claim.job_id, error)
        _refuse(worker, claim, secret_unusable(error))
    except (VllmMissingError, SamplerRefusedError) as error:
        logger.warning("%s: %s", claim.job_id, error)
        _refuse(worker, claim, no_sampler(error))
    except Exception as error:  # a bug or a broken machine: record it now rather than let the lease expire
        logger.exception("%s: attempt %d failed in the worker", claim.job_id, claim.attempt)
        _give_up(worker, claim, error)


def _give_up(worker: WorkerProcess, claim: Claim, error: Exception) -> None:
    """Record that the worker failed to run the attempt; if the database is unreachable, the lease expires instead."""
    failure = worker_error(error)
    try:
        with unit_of_work(worker.engine) as session:
            stored = failure.model_dump(mode="json")
            lifecycle.retry_or_fail(session, claim.job_id, claim.fence, stored, worker.settings.retry_backoff_s)
            claims.end_attempt(session, claim.job_id, claim.fence, failure.code)
    except (FenceLost, SQLAlchemyError) as error:
        logger.warning("%s: %s", claim.job_id, error)


def _refuse(worker: WorkerProcess, claim: Claim, failure: Failure) -> None:
    """Fail the job without a retry; if the database is unreachable, the lease expires and another attempt follows."""
    try:
        with unit_of_work(worker.engine) as session:
            lifecycle.fail(session, claim.job_id, claim.fence, failure.error.model_dump(mode="json"))
            claims.end_attempt(session, claim.job_id, claim.fence, failure.error.code)
    except (FenceLost, SQLAlchemyError) as error:
        logger.warning("%s: %s", claim.job_id, error)


class _Attempt:
    def __init__(self, worker: WorkerProcess, claim: Claim) -> None:
        self._worker = worker
        self._settings = settings = worker.settings
        self._engine = worker.engine
        self._claim = claim
        self._folder = worker.artifacts.attempt(claim.job_id, claim.fence).absolute()
        self._log = worker.artifacts.log(claim.job_id, claim.fence).absolute()
        self._relay = Relay(worker.engine, claim, worker.artifacts)
        self._lease = Lease(worker.engine, claim, lease_s=settings.lease_s, heartbeat_s=settings.heartbeat_s)
        self._watchdog = Watchdog(worker.artifacts.reports(claim.job_id, claim.fence), settings)
        self._servers = AttemptServers(worker, claim)
        self._resumed: Checkpoint | None = None
        self._intents = Intents(cancel=False, pause=False)
        self._hung: str | None = None
        self._stop = TrainerStop(settings.drain_s)
        self._server_failure: Failure | None = None
        self._oom_kills = oom_kills()

    def run(self) -> None:
        """Run the attempt of a granted claim until its outcome is recorded.

        Raises:
            FenceLost: another worker claimed the job; the trainer is dead and nothing more was written.
            SecretUnusable: a secret that the spec names cannot be decrypted; the trainer was not started.
            VllmMissingError: the spec names a vLLM server, and this worker has no vLLM; the trainer was not started.
            SamplerRefusedError: this worker refuses the sampler that the spec names; the trainer was not started.
        """
        with self._lease:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._retry_through_outage(lambda: recovery.recover_previous_attempts(self._worker, self._claim))
            with self._servers:
                self._run_trainer()

    def _run_trainer(self) -> None:
        run = self._retry_through_outage(self._run_config)
        atomic.write(self._folder / "run.json", run.model_dump_json(indent=2).encode())
        child = self._start(self._retry_through_outage(self._secrets))
        try:
            self._retry_through_outage(lambda: self._record_group(child))
            status = self._follow(child)
            process.kill_group(child.pid)  # with its children, before the row is updated
            self._retry_through_outage(self._relay_the_rest)
            self._retry_through_outage(self._servers.add_events)
            self._retry_through_outage(lambda: self._record_outcome(status))
        finally:
            process.kill_group(child.pid)  # also on an error: no process may remain
            child.wait()

    def _run_config(self) -> RunConfig:
        """The trainer's input: the spec, and the local paths of its datasets, models and checkpoint."""
        spec, artifacts = self._servers.spec, self._worker.artifacts
        names = {entry.dataset for entry in spec.dataset_mix}
        if spec.evaluation is not None:
            names.add(spec.evaluation.dataset)
        with unit_of_work(self._engine) as session:
            found = self._resumed = recovery.resume_point(self._worker, self._claim, session)
            began = session.get_one(Job, self._claim.job_id).started_at
        for name in names:
            with suppress(FileNotFoundError):  # the trainer reports which one is missing
                artifacts.fetched(name)
        if found:
            artifacts.objects.fetch(found.path)
        trainer_memory, awake_server = self._servers.trainer_room
        return RunConfig(
            spec=spec.with_date(datetime.fromtimestamp(began or time.time(), UTC).date()),
            run_dir=str(self._folder),
            datasets={name: str(artifacts.dataset(name).absolute()) for name in names},
            models=self._claim.models,
            resume_from=str((artifacts.root / found.path).absolute()) if found else None,
            teacher_cache=str(artifacts.teacher_cache(self._claim.tenant).absolute()),
            converted_models=str(artifacts.converted_models()),
            public_addresses_only=not self._may_be_anywhere(),
            servers=self._servers.addresses,
            trainer_memory=trainer_memory,
            awake_server=awake_server,
            shared_card=self._servers.shared_card,
            keep_all_checkpoints=True,  # the relay applies retention, under the fence
        )

    def _may_be_anywhere(self) -> bool:
        """Whether the operator has listed the teacher's server, which may then have a private address."""
        teacher = self._claim.spec.teacher
        return isinstance(teacher, OpenAITeacher) and is_listed(teacher.base_url, self._settings.teacher_urls)

    def _secrets(self) -> dict[str, str]:
        """Values of the secrets that the spec names; kept in memory only until the trainer has started."""
        teacher = self._claim.spec.teacher
        name = teacher.api_key_secret if isinstance(teacher, OpenAITeacher) else None
        if name is None:
            return {}
        key = keyring.load(self._settings)
        with reading(self._engine) as session:
            return {name: secrets.value(session, key, self._claim.tenant, name)}

    def _start(self, handed: dict[str, str]) -> subprocess.Popen[bytes]:
        command = [*TRAINER, str(self._folder / "run.json"), "--parent-pid", str(os.getpid())]
        trace = {tracing.VARIABLE: parent} if (parent := tracing.traceparent()) else {}
        return process.start(
            [*command, "--secrets-stdin"] if handed else command,
            log=self._log,
            environment={
                **os.environ,
                **visible(self._settings, "trainer"),
                "PYTHONUNBUFFERED": "1",
                "TOKENIZERS_PARALLELISM": "false",
                **trace,
            },
            folder=ROOT,
            given=json.dumps(handed).encode() if handed else None,
        )

    def _record_group(self, child: subprocess.Popen[bytes]) -> None:
        """Record the process group, so that the next attempt can kill it if this worker dies."""
        started = process.start_time(child.pid)
        with unit_of_work(self._engine) as session:
            claims.update_job(session, self._claim)
            claims.update_attempt(session, self._claim.job_id, self._claim.fence, pgid=child.pid, pid_starttime=started)

    def _follow(self, child: subprocess.Popen[bytes]) -> int:
        """Relay reports, apply intents and check progress until the trainer exits; returns its exit status."""
        next_check = 0.0
        while child.poll() is None:
            self._lease.check()
            more = False
            try:
                more = self._lease.certain and self._relay.pump() and self._relay.behind
                if time.monotonic() > next_check:
                    next_check = time.monotonic() + INTENT_S
                    if self._lease.certain:
                        self._servers.add_events()
                    with reading(self._engine) as session:
                        self._intents = claims.intents(session, self._claim.job_id)
            except OUTAGE as error:  # the trainer keeps running; its reports stay in their file
                logger.warning("%s: cannot relay reports, the trainer keeps running: %s", self._claim.job_id, error)
                time.sleep(INTENT_S)
            self._stop.apply_intents(child, self._intents, draining=self._worker.stopping.is_set())
            self._check_progress(child)
            if not more:
                time.sleep(POLL_S)
        return child.returncode

    def _check_progress(self, child: subprocess.Popen[bytes]) -> None:
        """Kill a trainer that makes no progress, or whose model server has failed."""
        if self._servers.awaited:
            self._watchdog.reset_silence()
        if self._server_failure is None and (failure := self._servers.failure) is not None:
            self._server_failure = failure
            process.kill_group(child.pid)  # it would wait forever
        if self._hung is None and (wrong := self._watchdog.check()) is not None:
            self._end_hung(child, wrong)

    def _end_hung(self, child: subprocess.Popen[bytes], wrong: str) -> None:
        """Make the trainer write the stacks of its threads to its log, then kill it."""
        logger.warning("%s: %s", self._claim.job_id, wrong)
        self._hung = wrong
        os.kill(child.pid, signal.SIGUSR2)
        time.sleep(DUMP_S)
        process.kill_group(child.pid)

    def _relay_the_rest(self) -> None:
        while self._relay.pump():
            self._lease.check()
        self._relay.publish_log()

    def _retry_through_outage(self, operation: Callable[[], T]) -> T:
        """Retry until the database and the bucket are reachable; `operation` must be idempotent: its reply may be lost.

        Raises:
            FenceLost: another worker claimed the job meanwhile.
        """
        while True:
            try:
                return operation()
            except OUTAGE as error:
                logger.warning("%s: database or bucket unreachable, retrying: %s", self._claim.job_id, error)
            self._lease.lost.wait(INTENT_S)
            self._lease.check()

    def _record_outcome(self, status: int) -> None:
        """Determine the outcome and apply it, in one transaction."""
        claim = self._claim
        with unit_of_work(self._engine) as session:
            recovery.report_lost(session, claim, recovery.newest_step(self._worker, claim, session))
            found = outcome(self._end(status, session))
            self._apply(found, session)
            claims.end_attempt(session, claim.job_id, claim.fence, found.exit_kind, relay_closed=found.reports_complete)
        logger.info("%s: attempt %d ended: %s", claim.job_id, claim.attempt, found.exit_kind)

    def _end(self, status: int, session: Session) -> TrainerEnd:
        """The facts that determine the outcome."""
        return TrainerEnd(
            status,
            has_final_checkpoint=checkpoints.has_final(session, self._claim.job_id),
            intents=self._intents,
            draining=self._worker.stopping.is_set(),
            stop_requested=self._stop.requested,
            drain_expired=self._stop.overdue,
            server_failure=self._server_failure,
            hung=self._hung,
            report=self._relay.error,
            oom_killed=oom_kills() > self._oom_kills,
            log_tail=process.tail(self._log, lines=LOG_LINES if self._hung is None else HUNG_LOG_LINES),
        )

    def _apply(self, found: Outcome, session: Session) -> None:
        """Apply the transition to the job."""
        claim, error = self._claim, found.error.model_dump(mode="json") if found.error else {}
        if found.resumed_from_unusable and self._resumed is not None:
            checkpoints.mark_deleted(session, self._resumed)
        match found.transition:
            case "succeed":
                lifecycle.succeed(session, claim)
            case "cancel":
                lifecycle.cancelled(session, claim.job_id, claim.fence)
            case "preempt":
                lifecycle.preempt(session, claim, self._stop.reason)
            case "retry":
                lifecycle.retry_or_fail(session, claim.job_id, claim.fence, error, self._settings.retry_backoff_s)
            case "fail":
                lifecycle.fail(session, claim.job_id, claim.fence, error)
