"""Stopping a trainer: killed on cancellation, with a deadline on drain, without one on pause."""

from __future__ import annotations

import subprocess
import time

from store.jobs.claims import Intents
from worker import process


class TrainerStop:
    """Stops one trainer. SIGTERM is sent once and cannot be taken back, even when a pause is withdrawn."""

    def __init__(self, drain_s: float) -> None:
        """
        Args:
            drain_s: seconds that the trainer has to exit when its worker drains.
        """
        self._drain_s = drain_s
        self._ends_at: float | None = None
        self.requested = False
        """Whether the trainer was sent SIGTERM."""
        self.overdue = False
        """Whether it was killed after `drain_s`."""

    def apply_intents(self, child: subprocess.Popen[bytes], intents: Intents, *, draining: bool) -> None:
        """Signal the trainer as the user's intents, or a draining worker, require."""
        if intents.cancel:
            process.kill_group(child.pid)  # checkpoints are atomic, so no grace period is needed
        if not self.requested and (intents.pause or draining):
            self.requested = True
            child.terminate()  # it saves the last finished step and exits with 75
        if draining and self._ends_at is None:
            self._ends_at = time.monotonic() + self._drain_s
        if self._ends_at is not None and time.monotonic() > self._ends_at:
            self.overdue = True
            process.kill_group(child.pid)

    @property
    def reason(self) -> str:
        """Why the attempt is preempted, for its event."""
        if self.overdue:
            return f"the worker is stopping; the trainer was killed after {self._drain_s:g} s (UNIAPL_DRAIN_S)"
        return "the trainer was stopped on request" if self._ends_at is None else "the worker is stopping"
