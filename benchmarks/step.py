"""Overhead of the service per step (`make bench-step`): the same run as a job and as plain `python -m uniapl train`.

The spec is examples/uniapl.json on SmolLM2-135M without evaluation: 4 prompts per step with groups of 4, all three
terms, with the discriminator. The job runs in the embedded service (API and worker, SQLite); the plain trainer reads
the `run.json` that the worker wrote. Order A B B A, in fresh processes. The step time is the interval between two step
reports. One thread, because with more threads sums and samples differ between runs. The output is a table and one JSON
line; there is no output of speeds if the gradient norms differ in any step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from uniapl_client import Client
from uniapl_client.spec_file import read_spec

from benchmarks.fresh import Result, alternate, conditions, median, require_agreement_of_runs
from embedded.service import EmbeddedService
from uniapl.spec.job import JobSpec

SPEC = Path("examples/uniapl.json")
KINDS = ("job", "bare")


def spec_of(student: str, steps: int, client: Client) -> JobSpec:
    """The example spec, with its dataset uploaded."""
    spec = read_spec(SPEC, client).model_dump(exclude_unset=True)
    schedule = spec["schedule"] | {"steps": steps, "checkpoint_every": steps}
    return JobSpec.model_validate(spec | {"student": student, "schedule": schedule, "evaluation": None})


def as_job(folder: Path, student: str, steps: int) -> Result:
    """Run the spec as a job of a new embedded service in `folder`."""
    with EmbeddedService(folder) as service, Client(service.url, api_key=service.api_key) as client:
        spec = spec_of(student, steps, client)
        started = time.time()
        client.jobs.wait(client.jobs.create(spec).id)
    return timings(run_folder(folder), started)


def run_folder(folder: Path) -> Path:
    """Run folder of the job's only attempt."""
    (found,) = folder.rglob("run.json")
    return found.parent


def bare(like: Path, folder: Path) -> Result:
    """Run the run.json of `like` without a service in `folder`."""
    folder.mkdir()
    run = json.loads((like / "run.json").read_text()) | {"run_dir": str(folder)}
    (folder / "run.json").write_text(json.dumps(run))
    started = time.time()
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "uniapl", "train", str(folder / "run.json")]
        subprocess.run(command, stdout=log, stderr=log, check=True)
    return timings(folder, started)


def timings(folder: Path, started: float) -> Result:
    """Step times and gradient norms from a run's reports, and the time from `started` to the first step."""
    reports = [json.loads(line) for line in (folder / "reports.jsonl").read_text().splitlines()]
    steps = [r for r in reports if r["kind"] == "metric" and "step_time" in r["values"]]
    ends = [r["ts"] for r in steps]
    return {
        "step_s": [after - before for before, after in itertools.pairwise(ends)],
        "start_s": ends[0] - steps[0]["values"]["step_time"] - started,
        "grad_norms": [r["values"]["grad_norm"] for r in steps],
    }


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure both sides in the order A B B A."""
    number = iter(range(4))
    like = folder / "0"
    sides: dict[str, Callable[[], Result]] = {
        "job": lambda: as_job(folder / str(next(number)), options.student, options.steps),
        "bare": lambda: bare(run_folder(like), folder / str(next(number))),
    }
    runs = alternate(KINDS, lambda kind: sides[kind]())
    difference = require_agreement_of_runs(runs, "the job and the bare run")
    total = {kind: sum(s for run in runs[kind] for s in run["step_s"]) for kind in KINDS}
    return {
        "step_s": {kind: [s for run in runs[kind] for s in run["step_s"]] for kind in KINDS},
        "median_s": {kind: median(runs[kind], "step_s") for kind in KINDS},
        "start_s": {kind: [run["start_s"] for run in runs[kind]] for kind in KINDS},
        "overhead": total["job"] / total["bare"] - 1,
        "grad_norm_difference": difference,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", default="SmolLM2-135M-Instruct", help="name in models.json")
    parser.add_argument("--steps", type=int, default=9, help="steps per run, including the warm-up")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    conditions_found = conditions(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        found = compare(options, Path(folder))
    print(f"{'':8} {'step, median':>12} {'to the first step':>18}")
    for kind in KINDS:
        start = " / ".join(f"{s:.1f}" for s in found["start_s"][kind])
        print(f"{kind:8} {found['median_s'][kind]:11.2f}s {start:>16} s")
    print(f"the service adds {found['overhead']:+.1%} to the steps")
    print(json.dumps({"benchmark": "step", **conditions_found, **found}))


if __name__ == "__main__":
    main()
