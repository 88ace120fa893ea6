"""A job whose trainers are killed: each attempt is a process of its own that goes on in a run directory of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from uniapl.errors import CheckpointError
from uniapl.run import manifest
from uniapl.run.reports import REPORT, MetricReport, Report

DYING = """
import os, runpy, signal, sys

within, fatal, calls, sync = sys.argv[1], int(sys.argv[2]), 0, os.fsync

def counted(descriptor):
    global calls
    calls += within in os.readlink(f"/proc/self/fd/{descriptor}")
    if calls == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(descriptor)

os.fsync = counted
sys.argv = ["uniapl", *sys.argv[3:]]
runpy.run_module("uniapl", run_name="__main__", alter_sys=True)
"""
"""`python -m uniapl` that is killed at one of the syncs of a checkpoint that it writes."""
DYING_AFTER = """
import os, runpy, signal, sys, threading
from uniapl.run.reporter import Reporter

first, share, within_s, tell, dying = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), Reporter.metrics, False

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def told(self, step, values):
    global dying
    tell(self, step, values)
    if step < first or "loss" not in values:
        return
    if dying:  # the moment would come too late where the step has stalled
        die()
    dying = True
    threading.Timer(share * (within_s or values["step_time"]), die).start()

Reporter.metrics = told
sys.argv = ["uniapl", *sys.argv[4:]]
runpy.run_module("uniapl", run_name="__main__", alter_sys=True)
"""
"""`python -m uniapl` that is killed after a step, at the latest with the next one."""


@dataclass
class Job:
    """Attempts at one spec, as the service makes them."""

    folder: Path
    spec: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    attempts: list[Path] = field(default_factory=list)

    def begin(
        self, *, dies_in: tuple[int, int] | None = None, dies_after: tuple[int, float, float] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the next attempt from the newest whole checkpoint.

        Args:
            dies_in: a step, and the number of the sync of its checkpoint at which the process is killed.
            dies_after: a step, and how much later the process is killed: a share of so many seconds, or of the time
                which that step took if they are 0.
        """
        newest = self.newest()
        folder = self.folder / f"fence-{len(self.attempts) + 1}"
        folder.mkdir(parents=True)
        self.attempts.append(folder)
        run = {
            "spec": self.spec,
            "run_dir": str(folder),
            "resume_from": str(newest) if newest else None,
            "teacher_cache": str(self.folder / "teacher_cache"),
            "keep_all_checkpoints": True,
        }
        (folder / "run.json").write_text(json.dumps(run))
        command = [sys.executable, "-m", "uniapl"]
        if dies_in is not None:
            command = [sys.executable, "-c", DYING, f".step-{dies_in[0]:08d}.tmp", str(dies_in[1])]
        if dies_after is not None:
            command = [sys.executable, "-c", DYING_AFTER, *map(str, dies_after)]
        with (folder / "log.txt").open("wb") as log:
            return subprocess.Popen(
                [*command, "train", str(folder / "run.json")],
                cwd=ROOT,
                env=os.environ | self.environment,
                stdout=log,
                stderr=log,
            )

    def newest(self) -> Path | None:
        """The checkpoint of the latest step, over all attempts, that is whole."""
        found = {}
        for attempt in self.attempts:
            for step in manifest.steps_in(attempt / "checkpoints"):
                path = manifest.folder_of(attempt / "checkpoints", step)
                try:
                    found[manifest.verify(path)] = path
                except CheckpointError:
                    continue
        return found[max(found)] if found else None

    def log(self) -> str:
        """What the last attempt wrote to its terminal."""
        return (self.attempts[-1] / "log.txt").read_text()


def reports(folder: Path) -> list[Report]:
    """Those of an attempt, which may be running or may have died within a line."""
    path = folder / "reports.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [REPORT.validate_json(line) for line in lines]


def trained(folder: Path) -> list[MetricReport]:
    """The attempt's steps."""
    return [r for r in reports(folder) if isinstance(r, MetricReport) and "loss" in r.values]


def kill_after(job: Job, step: int, moment: random.Random, *, within_s: float = 0.0) -> None:
    """An attempt that gets SIGKILL at a random moment after `step`: within so many seconds, by default the time which
    that step took, and at the latest with the next step."""
    process = job.begin(dies_after=(step, moment.random(), within_s))
    assert process.wait(timeout=300) == -signal.SIGKILL, job.log()
