"""Runner of the check: each phase is a process of its own, killed at its deadline, so that a hang costs only itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.report import Device, append

POLL_S = 0.05
AT_ONCE = 2
"""Phases at a time: for two cores, and so that two on a GPU do not disturb each other much."""
RESULTS, LOG = "result.jsonl", "log"
OUTCOMES = {"done": "ok", "cut": "red flag", "failed": "red flag", "skipped": "off"}
"""Verdict by the end of a phase."""


@dataclass(frozen=True)
class Phase:
    """One phase of the check."""

    name: str
    module: str
    """Module with the function `run(report)`."""
    cuda_s: float
    """Deadline on a GPU, in seconds."""
    cpu_s: float
    """Deadline of the short form, for a busy machine of two cores."""

    def deadline(self, device: Device) -> float:
        """Seconds after which the phase is killed."""
        return self.cuda_s if device == "cuda" else self.cpu_s


@dataclass(frozen=True)
class Running:
    """A phase's process."""

    phase: Phase
    process: subprocess.Popen[bytes]
    started: float
    deadline: float
    """Time of the monotonic clock at which it is killed."""

    def kill(self) -> None:
        """Kill the process and all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Check:
    """One run of the check."""

    def __init__(self, out: Path, device: Device, models: Path, budget_s: float) -> None:
        """
        Args:
            out: folder of the results and the log; results of an earlier run there are deleted.
            device: where the phases compute.
            models: folder of the bundled models.
            budget_s: seconds for all phases.
        """
        out.mkdir(parents=True, exist_ok=True)
        self.results, self._log = out / RESULTS, out / LOG
        for file in (self.results, self._log):
            file.unlink(missing_ok=True)
        self._device, self._models = device, models
        self._end = time.monotonic() + budget_s

    def run(self, stages: Iterable[Sequence[Phase]]) -> None:
        """Run the stages one after the other, the phases of a stage side by side, at most `AT_ONCE` of them."""
        for stage in stages:
            waiting, running = list(stage), list[Running]()
            try:
                while waiting or running:
                    self._start_next(waiting, running)
                    self._end_finished(running)
                    time.sleep(POLL_S)
            finally:
                for left in running:
                    left.kill()

    def _start_next(self, waiting: list[Phase], running: list[Running]) -> None:
        while waiting and len(running) < AT_ONCE:
            if started := self._start(waiting.pop(0)):
                running.append(started)

    def _start(self, phase: Phase) -> Running | None:
        now = time.monotonic()
        if now >= self._end:
            self._ended(phase, "skipped", 0.0, "the budget of all phases is spent; run it alone with --phase")
            return None
        where = ("--device", self._device, "--results", str(self.results), "--models", str(self._models))
        command = [sys.executable, "-m", "benchmarks.gpu_check.child", phase.name, phase.module, *where]
        with self._log.open("ab") as log:
            log.write(f"== {phase.name}\n".encode())
            log.flush()
            process = subprocess.Popen(command, stderr=log, start_new_session=True)
        return Running(phase, process, now, min(now + phase.deadline(self._device), self._end))

    def _end_finished(self, running: list[Running]) -> None:
        for one in list(running):
            if (status := one.process.poll()) is None and time.monotonic() < one.deadline:
                continue
            running.remove(one)
            one.kill()
            self._finish(one, status)

    def _finish(self, one: Running, status: int | None) -> None:
        seconds = time.monotonic() - one.started
        if status is None:
            reason = f"it did not end within {one.deadline - one.started:.0f} s: a hang, or a slow machine"
            spent = "the budget of all phases was spent before its end; run it alone with --phase"
            self._ended(one.phase, "cut", seconds, spent if one.deadline == self._end else reason)
        elif status != 0:
            reason = f"status {status}" if status > 0 else signal.Signals(-status).name
            self._ended(one.phase, "failed", seconds, f"it ended with {reason}; see {self._log}")
        else:
            self._ended(one.phase, "done", seconds, "")

    def _ended(self, phase: Phase, outcome: str, seconds: float, reason: str) -> None:
        line = {"phase": phase.name, "device": self._device, "outcome": outcome, "wall_s": round(seconds, 1)}
        append(self.results, line | ({"reason": reason} if reason else {}))
        print(f"{phase.name}: {outcome} after {seconds:.1f} s{f': {reason}' if reason else ''}", flush=True)


def summary(results: Path) -> tuple[str, int]:
    """The results as a table with all figures that are off, and the number of red flags."""
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    phases = list(dict.fromkeys(line["phase"] for line in lines))
    counts = {phase: _verdicts(line for line in lines if line["phase"] == phase) for phase in phases}
    ends = {line["phase"]: line for line in lines if "outcome" in line}
    text = [f"{'phase':15} {'outcome':8} {'seconds':>8} {'ok':>4} {'off':>4} {'red flags':>10} {'not judged':>11}"]
    for phase in phases:
        found, end = counts[phase], ends.get(phase, {"outcome": "cut", "wall_s": 0.0})
        text.append(
            f"{phase:15} {end['outcome']:8} {end['wall_s']:8.1f} {found['ok']:4} {found['off']:4} "
            f"{found['red flag']:10} {found['not judged']:11}"
        )
    text += [described for line in lines for described in _remarks(line)]
    return "\n".join(text), sum(found["red flag"] for found in counts.values())


def _verdicts(lines: Iterable[dict[str, Any]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in lines:
        found.update(figure["verdict"] for figure in line.get("figures", []))
        if line.get("outcome", "done") != "done":
            found[OUTCOMES[line["outcome"]]] += 1
    return found


def _remarks(line: dict[str, Any]) -> list[str]:
    """What a reader must know of one result line."""
    phase = line["phase"]
    if line.get("outcome", "done") != "done":
        return [f"{OUTCOMES[line['outcome']].upper()}: {phase}: {line['outcome']}: {line['reason']}"]
    if "unchecked" in line:
        return [f"NOT CHECKED: {phase}: {line['unchecked']}"]
    return [
        f"{figure['verdict'].upper()}: {phase}: {line['group']}: {figure['name']} is {figure['value']}, expected "
        f"{figure['expected']}: {figure['means']}"
        for figure in line.get("figures", [])
        if "means" in figure
    ]
