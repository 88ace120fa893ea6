"""Is the trainer still getting on? A heartbeat of the worker says nothing about that."""

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
"""Time between two looks counts at most so much: a worker that was itself stopped must not blame its trainer."""


class Watchdog:
    """Reads the reports beside the relay, since that one waits while the database is away.

    While steps are made, the limit is `hang_factor` times the run's own usual step; otherwise `phase_limit_s`.
    """

    def __init__(self, path: Path, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._settings, self._clock = path, settings, clock
        self._offset = 0
        self._looked = clock()
        self._silent_s = 0.0
        self._steps_s: deque[float] = deque(maxlen=50)
        self._phase = "starting"

    @property
    def limit_s(self) -> float:
        """How long the trainer may be silent now."""
        if self._phase != "training" or not self._steps_s:
            return self._settings.phase_limit_s
        usual = statistics.median(self._steps_s)
        return max(self._settings.hang_min_s, self._settings.hang_factor * usual)

    def look(self) -> str | None:
        """What is wrong, in words; `None` while the trainer gets on."""
        now = self._clock()
        self._silent_s += min(now - self._looked, GLANCE_S)
        self._looked = now
        while lines := self._new_lines():
            steps = sum(b'"kind":"metric"' in line[:80] for line in lines)
            if steps:
                self._steps_s.append(self._silent_s / steps)
            for line in lines:
                if b'"kind":"phase"' in line[:80]:
                    self._phase = _phase(line) or self._phase
            self._silent_s = 0.0
        if self._silent_s <= self.limit_s:
            return None
        doing = "while it was training" if self._phase == "training" else f"in its phase {self._phase!r}"
        return f"the trainer has made no progress for {self._silent_s:.0f} s {doing}"

    def reset_silence(self) -> None:
        """The trainer waits for somebody else: its silence so far does not count."""
        self._silent_s = 0.0

    def _new_lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                block = file.read(BLOCK)
        except FileNotFoundError:
            return []
        whole = block[: block.rfind(b"\n") + 1]
        if not whole and len(block) == BLOCK:
            self._offset += BLOCK  # the middle of a very long report; its kind does not matter here
            return [b""]
        self._offset += len(whole)
        return whole.split(b"\n")[:-1]


def _phase(line: bytes) -> str | None:
    try:
        report = REPORT.validate_json(line)
    except ValidationError:
        return None
    return report.phase if isinstance(report, PhaseReport) else None
