"""A phase that reports a figure, and fails."""

from __future__ import annotations

from benchmarks.gpu_check.report import Report


def run(report: Report) -> None:
    report.figures("before the error", {"x": 1.0})
    raise RuntimeError("no such kernel")
