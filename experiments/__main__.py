"""Command line of experiments: `python -m experiments NAME spec.json` trains the runs and writes the table.

The process ends with an `ExitStatus`: FAILED if some runs failed, REQUEUE if it was stopped (the same command resumes).
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from experiments import output, runner, validation
from experiments.bad_teacher import BAD_TEACHER
from experiments.discriminators import DISCRIMINATORS
from experiments.local_launcher import Stopped
from experiments.weights import ABLATION, DIVERSITY, LAMBDA_SWEEP, TERMS
from uniapl.errors import UniaplError
from uniapl.run.exit_status import ExitStatus
from uniapl.run.ranks import launcher_problem
from uniapl.run.registry import read_registry, registry_file

EXPERIMENTS = {e.name: e for e in (ABLATION, TERMS, LAMBDA_SWEEP, DISCRIMINATORS, DIVERSITY, BAD_TEACHER)}


def main(argv: list[str] | None = None) -> ExitStatus:
    """Run an experiment, or resume it; returns the exit status."""
    arguments = _parser().parse_args(argv)
    if (refused := launcher_problem(os.environ)) is not None:
        print(f"error: {refused}", file=sys.stderr)
        return ExitStatus.USER_ERROR
    try:
        return _run(arguments)
    except UniaplError as error:
        where = f"{error.param}: " if error.param else ""
        print(f"error: {where}{error.message}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        return ExitStatus.USER_ERROR
    except Stopped:
        again = shlex.join(["python", "-m", "experiments", *sys.argv[1:]])
        print(f"stopped; finished runs and checkpoints are kept. To resume, run the same command again:\n  {again}")
        return ExitStatus.REQUEUE


def _parser() -> argparse.ArgumentParser:
    questions = {name: experiment.question for name, experiment in EXPERIMENTS.items()}
    questions[validation.NAME] = validation.QUESTION
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Compare training runs in a table.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="experiments:\n" + "\n".join(f"  {name:24}{question}" for name, question in questions.items()),
    )
    parser.add_argument("name", choices=questions, metavar="NAME", help="one of the experiments listed below")
    parser.add_argument("spec", type=Path, help="a job spec as JSON; datasets are paths")
    parser.add_argument("--out", type=Path, help="folder of runs and table (default: data/experiments/NAME)")
    parser.add_argument("--seeds", type=_seeds, help="comma-separated, such as 0,1,2 (default: the spec's seed)")
    parser.add_argument("--steps", type=int, help="policy updates per run (default: the spec's steps)")
    parser.add_argument("--models", type=Path, default=registry_file(), help="registry of model names")
    parser.add_argument("--keep", action="store_true", help="keep the checkpoints of finished runs")
    return parser


def _seeds(text: str) -> list[int]:
    return list(dict.fromkeys(int(part) for part in text.split(",")))


def _run(arguments: argparse.Namespace) -> ExitStatus:
    name = arguments.name
    out = arguments.out or Path("data") / "experiments" / name
    spec = runner.read_spec(arguments.spec, arguments.steps)
    registry = read_registry(arguments.models)
    seeds = arguments.seeds or [spec.seed]
    if name == validation.NAME:
        table, measured = validation.validate(spec, registry, seeds)
        output.write(out, name, spec, seeds, [table], {"measured": measured})
        return ExitStatus.DONE
    return runner.run(EXPERIMENTS[name], spec, registry, out=out, seeds=seeds, keep_checkpoints=arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
