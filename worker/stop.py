"""How a trainer is stopped: cancelled at once, drained within a deadline, paused in its own time."""

from __future__ import annotations

import signal
import subprocess
import time

from store.jobs.claims import Intents
from uniapl.run.exit_status import ExitStatus
from worker import process


class TrainerStop:
    """Of one trainer. It is asked once and cannot be asked to continue: a pause may be withdrawn meanwhile."""

    def __init__(self, drain_s: float) -> None:
        """
        Args:
            drain_s: how long the trainer of a worker that drains may take to end.
        """
        self._drain_s = drain_s
        self._asked = False
        self._ends_at: float | None = None
        self._overdue = False

    def apply_intents(self, child: subprocess.Popen[bytes], intents: Intents, *, draining: bool) -> None:
        """Do what the job's owner, or a worker that drains, wants of the trainer."""
        if intents.cancel:
            process.kill_group(child.pid)  # checkpoints are atomic, so no grace is needed
        if not self._asked and (intents.pause or draining):
            self._asked = True
            child.terminate()  # it saves its last finished policy, and exits with 75
        if draining and self._ends_at is None:
            self._ends_at = time.monotonic() + self._drain_s
        if self._ends_at is not None and time.monotonic() > self._ends_at:
            self._overdue = True
            process.kill_group(child.pid)

    def caused(self, status: int) -> bool:
        """Whether the trainer ended because it was asked to, which is no failure of its job."""
        died_young = self._asked and status == -signal.SIGTERM  # before it listened to signals
        return status == ExitStatus.REQUEUE or died_young or self._overdue

    @property
    def reason(self) -> str:
        """Why the job is given back, for its event."""
        if self._overdue:
            return f"the worker is stopping, and the trainer was killed after {self._drain_s:g} s (UNIAPL_DRAIN_S)"
        return "the trainer was asked to stop" if self._ends_at is None else "the worker is stopping"
