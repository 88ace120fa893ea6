"""The sweeper: every worker has one, and any number of them at once is harmless.

It takes jobs from holders that fell silent, queues retries whose time has come, cancels jobs that were given back
before their holder saw the request, and rings again for queued jobs, no more than this worker could take: rings that
nobody can answer would only pile up in the broker.
"""

from __future__ import annotations

import logging
import time

from sqlalchemy.orm import Session

from store import jobs
from store.db import unit_of_work
from store.doorbell import Doorbell
from worker.failures import lost_holder
from worker.supervisor import Worker

logger = logging.getLogger(__name__)


class Sweeper:
    """Runs in a thread until `stopping` is set."""

    def __init__(self, worker: Worker, doorbell: Doorbell) -> None:
        self._worker = worker
        self._settings = worker.settings
        self._engine = worker.engine
        self._doorbell = doorbell
        self._connected_since: float | None = None

    def run(self) -> None:
        """Sweep every `sweep_s` seconds."""
        while not self._worker.stopping.is_set():
            try:
                self.sweep()
            except Exception as error:  # noqa: BLE001  (it must outlive whatever goes wrong in one round)
                self._connected_since = None
                logger.warning("could not sweep: %s", error)
            self._worker.stopping.wait(self._settings.sweep_s)

    def sweep(self) -> None:
        """One round."""
        with unit_of_work(self._engine) as session:
            jobs.cancel_given_back(session)
            jobs.requeue_due(session)
            if self._may_reap():
                for job_id, fence in jobs.expired(session):
                    self._reap(job_id, fence, session)
            waiting = jobs.queued(session)
        for job_id in waiting[: self._worker.free_slots]:
            self._doorbell.ring(job_id)

    def _may_reap(self) -> bool:
        """Only after a whole lease time of connection: holders that were cut off with us must renew first."""
        if self._connected_since is None:
            self._connected_since = time.monotonic()
        return time.monotonic() - self._connected_since >= self._settings.lease_s

    def _reap(self, job_id: str, fence: int, session: Session) -> None:
        logger.warning("%s: the holder of fence %d fell silent", job_id, fence)
        error = lost_holder()
        if jobs.cancel_requested(session, job_id):
            jobs.cancelled(session, job_id, fence)
        else:
            told = error.model_dump(mode="json")
            jobs.retry_or_fail(session, job_id, fence, told, self._settings.retry_backoff_s)
        jobs.end_attempt(session, job_id, fence, error.code)
