"""What an experiment is, whoever launches its runs: a spec becomes arms, arms and seeds become runs.

Everything here is a pure function of the spec. Launchers (`launch.py`) turn runs into results, `table.py` turns results
into a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from uniapl.errors import SpecError
from uniapl.spec.dataset import DatasetRow, first_problem
from uniapl.spec.job import JobSpec


@dataclass(frozen=True)
class Arm:
    """One of the variants that are compared."""

    name: str
    """Also the name of its folder."""
    spec: JobSpec


@dataclass(frozen=True)
class Run:
    """An arm with a seed: what is launched."""

    arm: str
    spec: JobSpec
    """The arm's, with the run's own seed."""


@dataclass(frozen=True)
class Column:
    """A number of the table."""

    title: str
    metric: str
    """Name in the run's reports."""
    digits: int = 3
    """After the decimal point."""


@dataclass(frozen=True)
class Experiment:
    """A comparison of training runs that differ in one respect."""

    name: str
    question: str
    """What its table answers, for the command's help and the table's title."""
    arms: Callable[[JobSpec], list[Arm]]
    """Pure; raises `SpecError` where the spec leaves nothing to compare."""
    columns: Sequence[Column]
    baseline: str | None = None
    """The arm that the others' differences are taken to, when there are several seeds."""
    datasets: Callable[[JobSpec], Mapping[str, list[DatasetRow]]] = lambda spec: {}
    """Datasets that its arms name and the spec does not, by name; reads the spec's own."""

    def runs(self, spec: JobSpec, seeds: Sequence[int]) -> list[Run]:
        """Every arm with every seed, arm by arm. All begin with the same student: the first alone evaluates it.

        Raises:
            SpecError: the spec leaves nothing to compare, or one of its arms is no valid spec.
        """
        runs = [Run(arm.name, changed(arm.spec, seed=seed)) for arm in self.arms(spec) for seed in seeds]
        return [runs[0], *(Run(run.arm, _begun(run.spec)) for run in runs[1:])]


def _begun(spec: JobSpec) -> JobSpec:
    """The spec without the evaluation before its first step."""
    if spec.evaluation is None:
        return spec
    return changed(spec, evaluation=spec.evaluation.model_copy(update={"at_start": False}))


def changed(spec: JobSpec, **fields: Any) -> JobSpec:
    """A copy with top-level fields replaced, validated again.

    Raises:
        SpecError: the copy contradicts itself.
    """
    given = JobSpec.model_construct(**{**dict(spec), **fields}).model_dump_json()
    try:
        return JobSpec.model_validate_json(given)
    except ValidationError as error:
        raise SpecError(first_problem(error, given)) from None
