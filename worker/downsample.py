"""Thins a flood of metrics, so that a trainer may report as fast as it likes."""

from __future__ import annotations

import time
from collections.abc import Callable

from uniapl.run.reports import MetricReport, Report

BURST_S = 5
"""After silence, so many seconds' worth of points may come at once."""


class Downsampler:
    """A token bucket over metric points. Whole reports are kept or left out, so that what is kept of a step is all of
    it; evaluations are always kept, and so is the newest report."""

    def __init__(self, points_per_s: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.points_per_s = points_per_s
        """What is stored at most."""
        self._clock = clock
        self._tokens = float(points_per_s * BURST_S)
        self._filled = clock()

    def thin(self, reports: list[Report]) -> tuple[list[Report], int]:
        """The reports to store, and the number of points that were left out.

        Those that are kept are spread evenly over the batch.
        """
        now = self._clock()
        limit = self.points_per_s * BURST_S
        self._tokens = min(limit, self._tokens + (now - self._filled) * self.points_per_s)
        self._filled = now
        flood = [report for report in reports if isinstance(report, MetricReport) and not _is_evaluation(report)]
        points = sum(len(report.values) for report in flood)
        if points <= self._tokens:
            self._tokens -= points
            return reports, 0
        every = points / max(self._tokens, 1.0)
        newest_first = enumerate(reversed(flood))
        left_out = {report.seq for i, report in newest_first if i > 0 and int(i / every) == int((i - 1) / every)}
        dropped = sum(len(report.values) for report in flood if report.seq in left_out)
        self._tokens -= points - dropped
        return [report for report in reports if report.seq not in left_out], dropped


def _is_evaluation(report: MetricReport) -> bool:
    return any(name.startswith("eval/") for name in report.values)
