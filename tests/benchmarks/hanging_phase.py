"""A phase that reports a figure, starts a process, and never ends."""

from __future__ import annotations

import subprocess
import time

from benchmarks.gpu_check.report import Report


def run(report: Report) -> None:
    sleeper = subprocess.Popen(["sleep", "600"])
    report.figures("before the hang", {"process": float(sleeper.pid)})
    time.sleep(600)
