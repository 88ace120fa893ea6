"""The sweeper: every worker has one, and any number of them at once is harmless.

It takes jobs from holders that fell silent, queues retries whose time has come, heeds what owners want of jobs that
were given back meanwhile, takes queued jobs that no message has announced here, tells what its worker runs on, and
clears the disk.
"""

from __future__ import annotations

import logging
import time

from sqlalchemy.orm import Session

from store import workers
from store.db import reading, unit_of_work
from store.jobs import claims, lifecycle
from store.tables import Attempt
from worker import cleanup, hardware, metrics
from worker.attempt import run_attempt
from worker.failures import lost_holder
from worker.recovery import kill_leftover_processes
from worker.slots import WorkerProcess

logger = logging.getLogger(__name__)


class Sweeper:
    """Runs in a thread until `stopping` is set."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._settings = worker.settings
        self._engine = worker.engine
        self._connected_since = self._heard = time.monotonic()
        self._cleared_at = -float("inf")
        self._hardware = hardware.facts(worker.settings)

    def run(self) -> None:
        """Sweep every `sweep_s` seconds, and when a slot has become free."""
        while not self._worker.stopping.is_set():
            try:
                self.sweep()
                metrics.swept()
            except Exception as error:  # noqa: BLE001  (it must outlive whatever goes wrong in one round)
                self._connected_since = time.monotonic()
                logger.warning("could not sweep: %s", error)
            self._worker.rest(self._settings.sweep_s)

    def sweep(self) -> None:
        """One round."""
        with unit_of_work(self._engine) as session:
            workers.report(session, self._worker.owner, self._hardware, self._settings.lease_s)
            lifecycle.apply_pending_intents(session)
            lifecycle.requeue_due(session)
            if self._may_reap():
                silent = lifecycle.expired(session)
                for job_id, fence in silent if self._may_reap() else ():
                    self._try_to_reap(job_id, fence, session)
        with reading(self._engine) as session:
            waiting = lifecycle.queued(session)
        for job_id in waiting:
            if not self._worker.take(job_id, run_attempt):
                break
        self._worker.sidecars.tidy()
        if time.monotonic() - self._cleared_at > self._settings.garbage_s:
            self._cleared_at = time.monotonic()
            cleanup.clear(self._engine, self._worker.artifacts)

    def _may_reap(self) -> bool:
        """Only after a whole lease time of connection: holders that were cut off with us must renew first.

        Asked right after the database has answered: one that was silent for half a lease was away.
        """
        now = time.monotonic()
        if now - self._heard > max(self._settings.lease_s / 2, 2 * self._settings.sweep_s):
            self._connected_since = now
        self._heard = now
        return now - self._connected_since >= self._settings.lease_s

    def _try_to_reap(self, job_id: str, fence: int, session: Session) -> None:
        """One that cannot be reaped does not keep the others."""
        try:
            with session.begin_nested():
                self._reap(job_id, fence, session)
        except Exception:
            logger.exception("%s: could not be taken from the holder of fence %d", job_id, fence)

    def _reap(self, job_id: str, fence: int, session: Session) -> None:
        logger.warning("%s: the holder of fence %d fell silent", job_id, fence)
        metrics.reaped.inc()
        kill_leftover_processes(session.get_one(Attempt, (job_id, fence)))  # before the row says that nothing runs
        error = lost_holder()
        if claims.intents(session, job_id).cancel:
            lifecycle.cancelled(session, job_id, fence)
        else:
            told = error.model_dump(mode="json")
            lifecycle.retry_or_fail(session, job_id, fence, told, self._settings.retry_backoff_s)
        claims.end_attempt(session, job_id, fence, error.code)
