"""Sweeper: periodic maintenance, run by every worker; concurrent sweepers are harmless.

It takes jobs from workers whose lease expired, queues retries that are due, applies pending intents, claims queued jobs
whose message got lost, reports its worker's hardware, and cleans up the disk.
"""

from __future__ import annotations

import logging
import time

from sqlalchemy.orm import Session

from store import workers
from store.db import reading, unit_of_work
from store.jobs import claims, lifecycle
from store.tables import Attempt
from worker import cleanup, hardware, metrics, process
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
        self._hardware = {**hardware.facts(worker.settings), "vllm": worker.vllm}

    def run(self) -> None:
        """Sweep every `sweep_s` seconds, and when a slot has become free."""
        while not self._worker.stopping.is_set():
            try:
                self.sweep()
                metrics.swept()
            except Exception as error:  # noqa: BLE001  (the sweeper must survive any failure of one round)
                self._connected_since = time.monotonic()
                logger.warning("sweep failed: %s", error)
            self._worker.rest(self._settings.sweep_s)

    def sweep(self) -> None:
        """One round."""
        with unit_of_work(self._engine) as session:
            facts = {**self._hardware, "speed": self._worker.measurement.speed}
            workers.report(session, self._worker.owner, facts, self._settings.lease_s)
            lifecycle.apply_pending_intents(session)
            lifecycle.requeue_due(session)
            if self._may_reap():
                silent = lifecycle.expired(session)
                for job_id, fence in silent if self._may_reap() else ():
                    self._try_to_reap(job_id, fence, session)
        with reading(self._engine) as session:
            waiting = lifecycle.queued(session)
            running = claims.running_on(session, process.boot_id())
        for job_id in waiting:
            if not self._worker.take(job_id, run_attempt):
                break
        self._worker.measure(idle=not waiting and not running)
        self._worker.sidecars.tidy()
        if time.monotonic() - self._cleared_at > self._settings.garbage_s:
            self._cleared_at = time.monotonic()
            cleanup.clear(self._engine, self._worker.artifacts)

    def _may_reap(self) -> bool:
        """Whether this worker has been connected to the database for a whole lease.

        After an outage, other workers must be able to renew their leases first. Called right after a database reply;
        a gap of half a lease between two calls counts as an outage.
        """
        now = time.monotonic()
        if now - self._heard > max(self._settings.lease_s / 2, 2 * self._settings.sweep_s):
            self._connected_since = now
        self._heard = now
        return now - self._connected_since >= self._settings.lease_s

    def _try_to_reap(self, job_id: str, fence: int, session: Session) -> None:
        """Take one job; a failure does not affect the others."""
        try:
            with session.begin_nested():
                self._reap(job_id, fence, session)
        except Exception:
            logger.exception("%s: recovering the job from fence %d failed", job_id, fence)

    def _reap(self, job_id: str, fence: int, session: Session) -> None:
        logger.warning("%s: the lease of fence %d expired", job_id, fence)
        metrics.reaped.inc()
        kill_leftover_processes(session.get_one(Attempt, (job_id, fence)))  # before the row is updated
        error = lost_holder()
        if claims.intents(session, job_id).cancel:
            lifecycle.cancelled(session, job_id, fence)
        else:
            stored = error.model_dump(mode="json")
            lifecycle.retry_or_fail(session, job_id, fence, stored, self._settings.retry_backoff_s)
        claims.end_attempt(session, job_id, fence, error.code)
