"""How a trainer is stopped: cancelled at once, drained within a deadline, paused in its own time."""

from __future__ import annotations

import subprocess
import time

from store.jobs.claims import Intents
from worker import process


class TrainerStop:
    """Of one trainer. It is asked once and cannot be asked to continue: a pause may be withdrawn meanwhile."""

    def __init__(self, drain_s: float) -> None:
        """
        Args:
            drain_s: how long the trainer of a worker that drains may take to end.
        """
        self._drain_s = drain_s
        self._ends_at: float | None = None
        self.requested = False
        """Whether the trainer was sent SIGTERM."""
        self.overdue = False
        """Whether it was killed after `drain_s`."""

    def apply_intents(self, child: subprocess.Popen[bytes], intents: Intents, *, draining: bool) -> None:
        """Do what the job's owner, or a worker that drains, wants of the trainer."""
        if intents.cancel:
            process.kill_group(child.pid)  # checkpoints are atomic, so no grace is needed
        if not self.requested and (intents.pause or draining):
            self.requested = True
            child.terminate()  # it saves its last finished policy, and exits with 75
        if draining and self._ends_at is None:
            self._ends_at = time.monotonic() + self._drain_s
        if self._ends_at is not None and time.monotonic() > self._ends_at:
            self.overdue = True
            process.kill_group(child.pid)

    @property
    def reason(self) -> str:
        """Why the job is given back, for its event."""
        if self.overdue:
            return f"the worker is stopping, and the trainer was killed after {self._drain_s:g} s (UNIAPL_DRAIN_S)"
        return "the trainer was asked to stop" if self._ends_at is None else "the worker is stopping"
