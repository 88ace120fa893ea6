"""A vLLM server on the card: not part of this check yet; the phase reports whether vLLM is installed."""

from __future__ import annotations

import shutil

from benchmarks.gpu_check.phases.environment import installed
from benchmarks.gpu_check.report import Report


def run(report: Report) -> None:
    """Report the version, and what `make vllm` checks instead."""
    found = installed("vllm")
    report.figures("vLLM", {"version": found, "command": shutil.which("vllm") or "none"})
    absent = "no vLLM found: " if found == "none" else ""
    report.unchecked(
        f"{absent}weight hand-over, sleep, and the health probe under load; `make vllm` checks them on a CPU"
    )
