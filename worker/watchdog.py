"""Watchdog for trainers that make no progress; the worker's heartbeat does not detect these."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from store.settings import Settings
from uniapl.run.reports import REPORT, PhaseReport

BLOCK = 1 << 20
GLANCE_S = 1.0
"""Largest interval between two checks that counts as silence: a worker that was itself stopped must not kill its
trainer for it."""


class Watchdog:
    """Reads the report file independently of the relay, which waits while the database is unreachable.

    During training the limit is `hang_factor` times the run's median step; in other phases it is `phase_limit_s`.
    """

    def __init__(self, path: Path, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._settings, self._clock = path, settings, clock
        self._offset = 0
        self._looked = clock()
        self._silent_s = self._step_s = 0.0
        """Seconds since the last report, and since the last step or the start of the phase."""
        self._steps_s: deque[float] = deque(maxlen=50)
        self._phase = "starting"

    @property
    def limit_s(self) -> float:
        """Seconds without a report after which the trainer counts as hung, in the current phase."""
        if self._phase != "training" or not self._steps_s:
            return self._settings.phase_limit_s
        usual = statistics.median(self._steps_s)
        return max(self._settings.hang_min_s, self._settings.hang_factor * usual)

    def check(self) -> str | None:
        """A description of the hang; `None` while the trainer makes progress."""
        now = self._clock()
        passed, self._looked = min(now - self._looked, GLANCE_S), now
        self._silent_s += passed
        self._step_s += passed
        while lines := self._new_lines():
            steps = sum(b'"kind":"metric"' in line[:80] for line in lines)
            if steps:
                self._steps_s.append(self._step_s / steps)
                self._step_s = 0.0
            for line in lines:
                if b'"kind":"phase"' in line[:80]:
                    self._begin(_phase(line) or self._phase)
            self._silent_s = 0.0
        if self._silent_s <= self.limit_s:
            return None
        doing = "while training" if self._phase == "training" else f"in phase {self._phase!r}"
        return f"the trainer made no progress for {self._silent_s:.0f} s {doing}"

    def reset_silence(self) -> None:
        """Restart the measurement: the trainer is waiting for a model server."""
        self._silent_s = self._step_s = 0.0

    def _begin(self, phase: str) -> None:
        """Enter a phase; its repetition only shows progress."""
        if phase != self._phase:
            self._phase, self._step_s = phase, 0.0

    def _new_lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                block = file.read(BLOCK)
        except FileNotFoundError:
            return []
        whole = block[: block.rfind(b"\n") + 1]
        if not whole and len(block) == BLOCK:
            self._offset += BLOCK  # inside a very long report, whose kind does not matter here
            return [b""]
        self._offset += len(whole)
        return whole.split(b"\n")[:-1]


def _phase(line: bytes) -> str | None:
    try:
        report = REPORT.validate_json(line)
    except ValidationError:
        return None
    return report.phase if isinstance(report, PhaseReport) else None
