"""Slots of a worker process, and the threads that run attempts in them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import cached_property

from sqlalchemy import Engine

from store.artifacts.paths import Artifacts
from store.settings import Settings
from store.tables import new_id
from uniapl.spec.estimate import Hardware
from worker import metrics
from worker.hardware import facts
from worker.self_measurement import SelfMeasurement
from worker.vllm.pool import SidecarPool
from worker.vllm.version import find_version

logger = logging.getLogger(__name__)


class WorkerProcess:
    """State that the attempts of one worker process share.

    Each attempt runs in its own thread, whether a message or the sweeper started it. The thread lives as long as the
    attempt, since the trainer dies with the thread that started it (PR_SET_PDEATHSIG).
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self.artifacts = Artifacts.of(settings)
        self.owner = new_id("worker")
        """Random per process: a restarted worker must not be mistaken for its predecessor."""
        self.sidecars = SidecarPool(settings, self.artifacts)
        """Model servers, which outlive attempts."""
        self.measurement = SelfMeasurement(settings)
        """Speed of this machine."""
        self.stopping = threading.Event()
        """Set when the worker drains."""
        self._attempts: dict[str, threading.Thread] = {}
        self._skipped_until: dict[str, float] = {}
        self._freed = threading.Event()
        self._lock = threading.Lock()

    @cached_property
    def vllm(self) -> str | None:
        """Version of the vLLM that this worker can start; determined once."""
        return find_version(self.settings.vllm_command)

    def hardware(self) -> Hardware:
        """This worker's hardware and vLLM, as the estimate reads them."""
        return Hardware.model_validate({**facts(self.settings), "vllm": self.vllm})

    def take(self, job_id: str, run: Callable[[WorkerProcess, str], bool]) -> bool:
        """Run an attempt at the job in a new thread by calling `run`, which returns whether it claimed the job.

        Returns:
            False when no slot is free or the worker is stopping; then nothing happens.
        """
        with self._lock:
            if self.stopping.is_set() or len(self._attempts) >= self.settings.worker_slots:
                return False
            if job_id in self._attempts or self._skipped_until.get(job_id, 0.0) > time.monotonic():
                return True
            self.measurement.stop()
            thread = threading.Thread(target=self._run, args=(job_id, run), name=f"attempt-{job_id}")
            self._attempts[job_id] = thread
        thread.start()
        return True

    def set_aside(self, job_id: str) -> None:
        """Skip this job for `lease_s`: claiming it failed, and other jobs must not wait for it."""
        with self._lock:
            self._skipped_until[job_id] = time.monotonic() + self.settings.lease_s

    @property
    def active(self) -> set[str]:
        """Jobs that threads of this worker are running."""
        with self._lock:
            return set(self._attempts)

    def measure(self, *, idle: bool) -> None:
        """Measure the machine's speed while it is idle: no job waits, and no worker on it runs one."""
        with self._lock:
            if idle and not self._attempts and not self.stopping.is_set():
                self.measurement.proceed()
            else:
                self.measurement.stop()

    def rest(self, seconds: float) -> None:
        """Wait, at most until a slot becomes free."""
        if not self.stopping.is_set():
            self._freed.wait(seconds)
        self._freed.clear()

    def drain(self) -> None:
        """Stop, and wait until every attempt has ended."""
        self.stopping.set()
        with self._lock:
            self.measurement.stop()
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
            logger.exception("%s: claiming the job failed", job_id)
        finally:
            metrics.active.dec()
            with self._lock:
                del self._attempts[job_id]
            if taken:
                self._freed.set()
