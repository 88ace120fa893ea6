"""The writer of `reports.jsonl` in the run directory, one line per report (see `uniapl.run.reports`)."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from uniapl.errors import UniaplError
from uniapl.run.redaction import Redactor
from uniapl.run.reports import (
    CheckpointReport,
    ErrorReport,
    EventReport,
    Level,
    MetricReport,
    Phase,
    PhaseReport,
    Report,
    SampleReport,
)

PROGRESS_S = 10.0
"""Least seconds between the last report and one that only shows progress."""


class Reporter:
    """Appends reports; each line is flushed to the file when the call returns, so that readers can tail it."""

    def __init__(
        self, path: Path, redactor: Redactor | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            path: the file.
            redactor: applied to all texts.
            clock: seconds, for the interval of `progress`.
        """
        self._clock, self._reported = clock, -math.inf
        self._redactor = redactor or Redactor()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._seq = _whole_lines(path) if path.exists() else 0
        self._phase: Phase | None = None
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # every report is flushed: pending writes have raised already
            self._file.close()

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Metrics of one step; non-finite numbers are omitted, since JSON has no NaN."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._write(MetricReport, step=step, values=finite)

    def sample(self, step: int, **fields: Any) -> None:
        """One held-out answer; fields as in `SampleReport`."""
        self._write(SampleReport, step=step, **fields)

    def checkpoint(self, step: int, path: Path, manifest_sha256: str, size: int) -> None:
        """A complete checkpoint on disk; `size` in bytes."""
        self._write(CheckpointReport, step=step, path=str(path), manifest_sha256=manifest_sha256, bytes=size)

    def phase(self, phase: Phase) -> None:
        """The start of a phase."""
        self._phase = phase
        self._write(PhaseReport, phase=phase)

    def progress(self) -> None:
        """Repeat the phase, so that a long one, or a long step, does not count as hung; at most every `PROGRESS_S`."""
        if self._phase is not None and self._clock() - self._reported >= PROGRESS_S:
            self._write(PhaseReport, phase=self._phase)

    def event(self, message: str, *, level: Level = "info", **data: Any) -> None:
        """A message for the job's owner."""
        self._write(EventReport, level=level, message=message, data=data)

    def error(self, error: UniaplError) -> None:
        """The error that ended the run."""
        self._write(ErrorReport, code=error.code, message=error.message, hint=error.hint, param=error.param)

    def _write(self, kind: type[Report], **fields: Any) -> None:
        self._seq += 1
        self._reported = self._clock()
        report = kind(seq=self._seq, ts=time.time(), **self._redactor.json(fields))
        self._file.write(report.model_dump_json() + "\n")
        self._file.flush()


def _whole_lines(path: Path) -> int:
    """Number of reports in the file; a torn last line is removed, so that the next report begins a line."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(path, len(whole))
    return whole.count(b"\n")
