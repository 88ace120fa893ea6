"""A worker process: its slots, and the threads that see attempts through."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import Engine

from store.artifacts.paths import Artifacts
from store.settings import Settings
from store.tables import new_id
from worker import metrics
from worker.vllm.pool import SidecarPool

logger = logging.getLogger(__name__)


class WorkerProcess:
    """What every attempt of one worker process shares.

    An attempt has a thread of its own, whatever woke the worker: a message, or the sweeper's look into the database.
    The thread lives as long as the attempt, since the trainer dies with the thread that started it (PR_SET_PDEATHSIG).
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self.artifacts = Artifacts.of(settings)
        self.owner = new_id("worker")
        """Random for each process: a host name would let a restarted worker pass for its predecessor."""
        self.sidecars = SidecarPool(settings, self.artifacts)
        """Models' servers, which outlive attempts."""
        self.stopping = threading.Event()
        """Set when the worker drains."""
        self._attempts: dict[str, threading.Thread] = {}
        self._aside: dict[str, float] = {}
        self._freed = threading.Event()
        self._lock = threading.Lock()

    def take(self, job_id: str, run: Callable[[WorkerProcess, str], bool]) -> bool:
        """Have `run` see the job through in a thread of its own; it returns whether the job was there to be taken.

        Returns:
            False when there is no free slot, or the worker is stopping: then nothing happens.
        """
        with self._lock:
            if self.stopping.is_set() or len(self._attempts) >= self.settings.worker_slots:
                return False
            if job_id in self._attempts or self._aside.get(job_id, 0.0) > time.monotonic():
                return True
            thread = threading.Thread(target=self._run, args=(job_id, run), name=f"attempt-{job_id}")
            self._attempts[job_id] = thread
        thread.start()
        return True

    def set_aside(self, job_id: str) -> None:
        """Skip this job for the length of a lease: it cannot be claimed, and the others can."""
        with self._lock:
            self._aside[job_id] = time.monotonic() + self.settings.lease_s

    @property
    def active(self) -> set[str]:
        """Jobs that threads are busy with."""
        with self._lock:
            return set(self._attempts)

    def rest(self, seconds: float) -> None:
        """Wait, but no longer than until an attempt has left its slot."""
        if not self.stopping.is_set():
            self._freed.wait(seconds)
        self._freed.clear()

    def drain(self) -> None:
        """Wait until every attempt has been given back."""
        self.stopping.set()
        with self._lock:
            threads = list(self._attempts.values())
        for thread in threads:
            thread.join()
        self.sidecars.stop_all()

    def _run(self, job_id: str, run: Callable[[WorkerProcess, str], bool]) -> None:
        metrics.active.inc()
        taken = False
        try:
            taken = run(self, job_id)
        except Exception:
            logger.exception("%s: could not be taken", job_id)
        finally:
            metrics.active.dec()
            with self._lock:
                del self._attempts[job_id]
            if taken:
                self._freed.set()
