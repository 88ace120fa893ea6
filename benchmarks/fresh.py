"""Measuring in fresh processes, one after the other: A B B A, so that a machine that tires does so for both."""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

MODEL = Path("data/models/smollm2-135m-instruct")
TOLERANCE = 1e-4
"""Largest relative difference of two gradients' norms."""

Result = dict[str, Any]


def child(module: str, *arguments: object, threads: int, python: str | Path = sys.executable) -> Result:
    """What `python -m module arguments` prints as its last line, as JSON.

    Args:
        threads: that torch computes with.
        python: interpreter, of this environment or another.
    """
    command = [str(python), "-m", module, *map(str, arguments)]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    found: Result = json.loads(done.stdout.splitlines()[-1])
    return found


def alternate(kinds: Sequence[str], run: Callable[[str], Result]) -> dict[str, list[Result]]:
    """Each kind twice: in their order, then in the reverse."""
    runs: dict[str, list[Result]] = {kind: [] for kind in kinds}
    for kind in (*kinds, *reversed(kinds)):
        runs[kind].append(run(kind))
    return runs


class Steps:
    """Times of a process's steps, the first of which warms up and is not counted."""

    def __init__(self) -> None:
        self._wall: list[float] = []
        self._cpu: list[float] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """Measure what is done within."""
        self.begin()
        yield
        self.end()

    def begin(self) -> None:
        """A step begins."""
        self._started = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """It is over."""
        wall, cpu = self._started
        self._wall.append(time.perf_counter() - wall)
        self._cpu.append(time.process_time() - cpu)

    def result(self, **more: Any) -> Result:
        """Seconds of wall and of CPU by step, the peak of resident memory, and what else there is to tell."""
        return {"wall_s": self._wall[1:], "cpu_s": self._cpu[1:], "rss": peak(), **more}


def peak() -> int:
    """Highest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def median(runs: Sequence[Result], key: str) -> float:
    """Over the steps of all runs."""
    return statistics.median(value for run in runs for value in run[key])


def require_agreement(norms: dict[str, list[float]], what: str) -> float:
    """The largest relative difference of the gradients' norms, step by step.

    Args:
        norms: of the steps of one run, by its name.
        what: was measured; for the message.

    Raises:
        SystemExit: it is more than `TOLERANCE`, or a norm is not finite: no speed is told.
    """
    by_step = list(zip(*norms.values(), strict=True))
    finite = all(math.isfinite(norm) for step in by_step for norm in step)  # the largest of some may hide a NaN
    difference = max(max(step) / min(step) - 1 for step in by_step)
    if not (finite and difference <= TOLERANCE):
        sys.exit(f"{what}: the gradients disagree, so no speed is told: their norms are {norms}")
    return difference


def require_agreement_of_runs(runs: dict[str, list[Result]], what: str) -> float:
    """The same for each run of each kind."""
    return require_agreement(
        {f"{kind} {i}": run["grad_norms"] for kind in runs for i, run in enumerate(runs[kind])}, what
    )


def conditions(threads: int) -> Result:
    """When, where and with what it was measured."""
    return {
        "date": date.today().isoformat(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": os.getloadavg()[0],
        **{package: version(package) for package in ("torch", "transformers")},
    }
