"""Runner of an experiment: launches its runs on this machine and writes its tables."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from experiments import output
from experiments.experiment import Experiment, changed
from experiments.local_launcher import LocalLauncher
from experiments.results import Failure, RunResult
from experiments.table import differences_table, results_table
from uniapl.errors import SpecError
from uniapl.run import atomic
from uniapl.run.exit_status import ExitStatus
from uniapl.run.registry import RegisteredModel
from uniapl.spec import files
from uniapl.spec.dataset import DatasetRow, first_problem
from uniapl.spec.job import JobSpec


def read_spec(path: Path, steps: int | None) -> JobSpec:
    """The job spec in a file, with dataset paths resolved by `files.find`, and `steps` replaced if given.

    Raises:
        SpecError: the file cannot be read, or is not a valid spec.
    """
    try:
        text = path.read_text(encoding="utf-8")
        spec = JobSpec.model_validate_json(text)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error, text)}") from None
    spec = files.renamed(spec, lambda name: str(files.find(name, path.parent) or name))
    return spec if steps is None else changed(spec, schedule=spec.schedule.model_copy(update={"steps": steps}))


def run(
    experiment: Experiment,
    spec: JobSpec,
    registry: Mapping[str, RegisteredModel],
    *,
    out: Path,
    seeds: Sequence[int],
    keep_checkpoints: bool,
) -> ExitStatus:
    """Train the unfinished runs and write the tables; returns the exit status.

    Raises:
        UniaplError: the spec, a model name or a dataset does not fit the experiment.
        Stopped: on SIGINT or SIGTERM.
    """
    runs = experiment.runs(spec, seeds)
    datasets = {
        name: _write_dataset(out / "datasets" / f"{name}.jsonl", rows)
        for name, rows in experiment.datasets(spec).items()
    }
    launcher = LocalLauncher(out, registry=registry, datasets=datasets, keep_checkpoints=keep_checkpoints, log=_log)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: launcher.stop())
    outcomes = list(launcher.launch(runs))
    results = [outcome for outcome in outcomes if isinstance(outcome, RunResult)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    arms = list(dict.fromkeys(run.arm for run in runs))
    tables = [results_table(experiment, arms, results, failures), differences_table(experiment, arms, results)]
    numbers = {
        "runs": [result.model_dump(mode="json") for result in results],
        "failures": [vars(failure) for failure in failures],
    }
    output.write(out, experiment.name, spec, seeds, [table for table in tables if table], numbers)
    return ExitStatus.FAILED if failures else ExitStatus.DONE


def _write_dataset(path: Path, rows: Sequence[DatasetRow]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, "".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows).encode())
    return str(path)


def _log(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {line}", flush=True)
