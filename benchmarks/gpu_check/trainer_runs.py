"""Trainer runs of the check: `python -m uniapl train` on the bundled tiny model, with rows of this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.report import Device

ROWS = Path(__file__).parent / "rows"
STUDENT = "tiny-random-llama"


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    status: int
    steps: list[dict[str, float]]
    """Metrics by step."""
    log: str
    """The end of its log."""

    def mean(self, metric: str, first: int, last: int) -> float:
        """Mean of a metric over the steps from `first` to `last`, counted from 1; NaN if the run ended earlier."""
        values = [step[metric] for step in self.steps[first - 1 : last] if metric in step]
        return sum(values) / len(values) if len(self.steps) >= last and values else float("nan")


def train(
    folder: Path, models: Path, device: Device, spec: dict[str, Any], rows: str, resume: Path | None = None
) -> Finished:
    """Run a job and wait for its end.

    Args:
        folder: run directory; created.
        models: folder of the bundled models.
        device: where it trains.
        spec: entries of a job spec, without student and datasets.
        rows: name of a file in `ROWS`, and the role of its rows: `name:role`.
        resume: checkpoint to begin with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name, role = rows.split(":")
    mix = [{"dataset": str(ROWS / name), "role": role}]
    run: dict[str, Any] = {
        "run_dir": str(folder),
        "models": {STUDENT: {"path": str(models / STUDENT)}},
        "resume_from": str(resume) if resume else None,
        "spec": {"student": STUDENT, "dataset_mix": mix, **spec},
    }
    (folder / "run.json").write_text(json.dumps(run))
    command = [sys.executable, "-m", "uniapl", "train", str(folder / "run.json"), "--parent-pid", str(os.getpid())]
    hidden = {} if device == "cuda" else {"CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, env=os.environ | hidden, capture_output=True, text=True)
    return Finished(done.returncode, _steps(folder / "reports.jsonl"), done.stderr[-3000:])


def _steps(reports: Path) -> list[dict[str, float]]:
    if not reports.exists():
        return []
    found = (json.loads(line) for line in reports.read_text().splitlines())
    return [report["values"] for report in found if report["kind"] == "metric" and "step_time" in report["values"]]
