"""`python -m uniapl experiment NAME spec.json`: launch an experiment's runs here, and make its table.

Exit status: 0 done; 1 some runs failed; 64 the user's mistake; 75 stopped on request, the same command goes on.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from uniapl.errors import SpecError, UniaplError
from uniapl.experiments import record, validation
from uniapl.experiments.bad_teacher import BAD_TEACHER
from uniapl.experiments.discriminators import DISCRIMINATORS
from uniapl.experiments.experiment import Experiment, changed
from uniapl.experiments.launch import LocalLauncher, Stopped
from uniapl.experiments.results import Failure, RunResult
from uniapl.experiments.table import differences_table, results_table
from uniapl.experiments.weights import ABLATION, DIVERSITY, LAMBDA_SWEEP, TERMS
from uniapl.run import atomic
from uniapl.run.registry import RegisteredModel, read_registry, registry_file
from uniapl.spec import files
from uniapl.spec.dataset import DatasetRow, first_problem
from uniapl.spec.job import JobSpec

EXPERIMENTS = {e.name: e for e in (ABLATION, TERMS, LAMBDA_SWEEP, DISCRIMINATORS, DIVERSITY, BAD_TEACHER)}
EXIT_DONE, EXIT_FAILED, EXIT_USER, EXIT_STOPPED = 0, 1, 64, 75


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The subcommand with its arguments."""
    questions = {name: experiment.question for name, experiment in EXPERIMENTS.items()}
    questions[validation.NAME] = validation.QUESTION
    parser = commands.add_parser(
        "experiment",
        help="compare training runs in a table",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="experiments:\n" + "\n".join(f"  {name:24}{question}" for name, question in questions.items()),
    )
    parser.add_argument("name", choices=questions, metavar="NAME", help="one of those below")
    parser.add_argument("spec", type=Path, help="a job spec as JSON; datasets are paths")
    parser.add_argument("--out", type=Path, help="folder for runs and table (default: data/experiments/NAME)")
    parser.add_argument("--seeds", type=_seeds, help="such as 0,1,2 (default: the spec's own)")
    parser.add_argument("--steps", type=int, help="policy updates per run (default: the spec's own)")
    parser.add_argument("--models", type=Path, default=registry_file(), help="registry of model names")
    parser.add_argument("--keep", action="store_true", help="keep the checkpoints of finished runs")


def _seeds(text: str) -> list[int]:
    return list(dict.fromkeys(int(part) for part in text.split(",")))


def main(arguments: argparse.Namespace) -> int:
    """Run the experiment, or go on with it; returns the exit status."""
    name = arguments.name
    out = arguments.out or Path("data") / "experiments" / name
    try:
        spec = read_spec(arguments.spec, arguments.steps)
        registry = read_registry(arguments.models)
        seeds = arguments.seeds or [spec.seed]
        if name == validation.NAME:
            table, measured = validation.validate(spec, registry, seeds)
            record.write(out, name, spec, seeds, [table], {"measured": measured})
            return EXIT_DONE
        return run(EXPERIMENTS[name], spec, registry, out=out, seeds=seeds, keep_checkpoints=arguments.keep)
    except UniaplError as error:
        where = f"{error.param}: " if error.param else ""
        print(f"error: {where}{error.message}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        return EXIT_USER
    except Stopped:
        again = shlex.join(["python", "-m", "uniapl", *sys.argv[1:]])
        print(f"stopped; finished runs and checkpoints are kept, and the same command goes on:\n  {again}")
        return EXIT_STOPPED


def read_spec(path: Path, steps: int | None) -> JobSpec:
    """The job spec in a file, its datasets as `files.find` finds them, with another number of steps if one is given.

    Raises:
        SpecError: the file cannot be read, or is no valid spec.
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
) -> int:
    """Train what is not trained yet, and write the tables; returns the exit status.

    Raises:
        UniaplError: the spec, a model's name or a dataset does not fit the experiment.
        Stopped: by SIGINT or SIGTERM.
    """
    runs = experiment.runs(spec, seeds)
    datasets = {
        name: _write_dataset(out / "datasets" / f"{name}.jsonl", rows)
        for name, rows in experiment.datasets(spec).items()
    }
    launcher = LocalLauncher(out, registry=registry, datasets=datasets, keep_checkpoints=keep_checkpoints, say=_say)
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
    record.write(out, experiment.name, spec, seeds, [table for table in tables if table], numbers)
    return EXIT_FAILED if failures else EXIT_DONE


def _write_dataset(path: Path, rows: Sequence[DatasetRow]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, "".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows).encode())
    return str(path)


def _say(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {line}", flush=True)
