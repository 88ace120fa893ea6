"""Measurement in fresh processes in the order A B B A, so that a slowdown of the machine affects both sides."""

from __future__ import annotations

import argparse
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
TOLERANCES = {"cpu": 1e-4, "cuda": 2e-2}
"""Maximum relative difference of gradient norms by device; a GPU computes products in bfloat16."""

Result = dict[str, Any]


def child(module: str, *arguments: object, threads: int, python: str | Path = sys.executable) -> Result:
    """Run `python -m module arguments` and return its last output line, parsed as JSON.

    Args:
        threads: number of torch threads.
        python: interpreter of this or another environment.
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
    """Run each kind twice: in the given order, then in reverse."""
    runs: dict[str, list[Result]] = {kind: [] for kind in kinds}
    for kind in (*kinds, *reversed(kinds)):
        runs[kind].append(run(kind))
    return runs


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option `--device` of a benchmark."""
    parser.add_argument("--device", type=usable_device, default="cpu", help="cpu (default) or cuda")


def usable_device(name: str) -> str:
    """The device, if this machine has it.

    Raises:
        argparse.ArgumentTypeError: it is neither `cpu` nor `cuda`, or torch can use no GPU.
    """
    if name not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"{name!r} is not a device; choose cpu or cuda")
    if name == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise argparse.ArgumentTypeError("torch finds no GPU on this machine; choose cpu")
    return name


class Steps:
    """Wall and CPU times of the steps of a process, without the first, which is a warm-up."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._wall: list[float] = []
        self._cpu: list[float] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """Measure the block as one step."""
        self.begin()
        yield
        self.end()

    def begin(self) -> None:
        """Start of a step."""
        self._synchronize()
        self._started = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """End of a step."""
        self._synchronize()
        wall, cpu = self._started
        self._wall.append(time.perf_counter() - wall)
        self._cpu.append(time.process_time() - cpu)

    def result(self, **more: Any) -> Result:
        """Wall and CPU seconds per step, peak memory in bytes, and additional entries.

        The memory is what this process keeps resident, on a GPU what torch has allocated there.
        """
        return {"wall_s": self._wall[1:], "cpu_s": self._cpu[1:], "rss": peak(self._device), **more}

    def _synchronize(self) -> None:
        """Wait for the GPU, which computes while the host continues."""
        if self._device == "cuda":
            import torch

            torch.cuda.synchronize()


def peak(device: str = "cpu") -> int:
    """Peak resident memory of this process in bytes; on a GPU the peak that torch has allocated there."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def median(runs: Sequence[Result], key: str) -> float:
    """Median over the steps of all runs."""
    return statistics.median(value for run in runs for value in run[key])


def require_agreement(norms: dict[str, list[float]], what: str, device: str = "cpu") -> float:
    """Maximum relative difference of the gradient norms over all steps.

    Args:
        norms: gradient norms per step, by name of the run.
        what: name of the measurement, for the message.
        device: where it was measured.

    Raises:
        SystemExit: it exceeds the tolerance, or a norm is not finite; the speeds are then not comparable.
    """
    by_step = list(zip(*norms.values(), strict=True))
    finite = all(math.isfinite(norm) for step in by_step for norm in step)  # max() may ignore a NaN
    difference = max(max(step) / min(step) - 1 for step in by_step)
    if not (finite and difference <= TOLERANCES[device]):
        sys.exit(f"{what}: the gradient norms differ, so the speeds are not comparable: {norms}")
    return difference


def require_agreement_of_runs(runs: dict[str, list[Result]], what: str, device: str = "cpu") -> float:
    """`require_agreement` over all runs of all kinds."""
    return require_agreement(
        {f"{kind} {i}": run["grad_norms"] for kind in runs for i, run in enumerate(runs[kind])}, what, device
    )


def conditions(threads: int) -> Result:
    """Date, machine, threads, load and package versions of a measurement."""
    return {
        "date": date.today().isoformat(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": os.getloadavg()[0],
        **{package: version(package) for package in ("torch", "transformers")},
    }
