"""`python -m uniapl experiment NAME spec.json`: launch an experiment's runs here, and make its table."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from uniapl.errors import SpecError, UniaplError
from uniapl.experiments.experiment import Experiment, changed
from uniapl.experiments.launch import LocalLauncher, Stopped
from uniapl.experiments.models import RegisteredModel, read_registry
from uniapl.experiments.results import Failure, RunResult, write_atomically
from uniapl.experiments.table import Table, differences_table, results_table
from uniapl.experiments.weights import ABLATION
from uniapl.spec.dataset import first_problem
from uniapl.spec.job import JobSpec

EXPERIMENTS = {experiment.name: experiment for experiment in (ABLATION,)}
EXIT_DONE, EXIT_FAILED, EXIT_USER, EXIT_STOPPED = 0, 1, 64, 75
_JSON: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's own."""
    parser.add_argument("name", choices=sorted(EXPERIMENTS), help="which experiment")
    parser.add_argument("spec", type=Path, help="a job spec as JSON; datasets are paths")
    parser.add_argument("--out", type=Path, help="folder for runs and table (data/experiments/NAME)")
    parser.add_argument("--seeds", type=_seeds, help="0,1,2 for three seeds (the spec's own)")
    parser.add_argument("--steps", type=int, help="policy updates per run (the spec's own)")
    parser.add_argument(
        "--models", type=Path, default=Path("models.json"), help="registry of model names (models.json)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the checkpoints of finished runs")


def _seeds(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(arguments: argparse.Namespace) -> int:
    """Run the experiment, or go on with it; returns the exit status."""
    try:
        spec = _read_spec(arguments.spec, arguments.steps)
        registry = read_registry(arguments.models) if arguments.models.exists() else {}
        return _run(EXPERIMENTS[arguments.name], spec, registry, arguments)
    except UniaplError as error:
        where = f"{error.param}: " if error.param else ""
        print(f"error: {where}{error.message}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        return EXIT_USER
    except Stopped:
        again = shlex.join([sys.executable, "-m", "uniapl", *sys.argv[1:]])
        print(f"stopped; the same command goes on from here:\n  {again}", file=sys.stderr)
        return EXIT_STOPPED


def _read_spec(path: Path, steps: int | None) -> JobSpec:
    try:
        text = path.read_text(encoding="utf-8")
        spec = JobSpec.model_validate_json(text)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error, text)}") from None
    return spec if steps is None else changed(spec, schedule=spec.schedule.model_copy(update={"steps": steps}))


def _run(
    experiment: Experiment, spec: JobSpec, registry: dict[str, RegisteredModel], arguments: argparse.Namespace
) -> int:
    out = arguments.out or Path("data") / "experiments" / experiment.name
    runs = experiment.runs(spec, arguments.seeds or [spec.seed])
    launcher = LocalLauncher(out, registry=registry, datasets={}, keep_checkpoints=arguments.keep, say=_say)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: launcher.stop())
    results: list[RunResult] = []
    failures: list[Failure] = []
    for outcome in launcher.launch(runs):
        if isinstance(outcome, RunResult):
            results.append(outcome)
        else:
            failures.append(outcome)
    arms = list(dict.fromkeys(run.arm for run in runs))
    tables = [results_table(experiment, arms, results, failures), differences_table(experiment, arms, results)]
    _write(out, experiment.name, spec, [table for table in tables if table], results, failures)
    return EXIT_FAILED if failures else EXIT_DONE


def _write(
    out: Path,
    name: str,
    spec: JobSpec,
    tables: Sequence[Table],
    results: Sequence[RunResult],
    failures: Sequence[Failure],
) -> None:
    """Print the tables, and write `table.md` and `results.json`."""
    write_atomically(out / "table.md", "\n\n".join(table.markdown() for table in tables) + "\n")
    record = {
        "experiment": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": {package: version(package) for package in ("torch", "transformers")},
        "spec": spec.model_dump(mode="json"),
        "runs": [result.model_dump(mode="json") for result in results],
        "failures": [vars(failure) for failure in failures],
    }
    write_atomically(out / "results.json", _JSON.dump_json(record, indent=2).decode())
    print("\n" + "\n\n".join(table.text() for table in tables))
    print(f"\nwritten to {out / 'table.md'} and {out / 'results.json'}")


def _machine() -> dict[str, Any]:
    import torch  # slow to load, and needed only once the runs are done

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"cpus": os.cpu_count(), "device": device, "python": platform.python_version()}


def _say(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {line}", flush=True)
