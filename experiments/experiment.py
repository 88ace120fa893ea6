"""Experiment definitions: pure functions from a spec to arms, and from arms and seeds to runs.

`local_launcher.py` turns runs into results, `table.py` turns results into a table.
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
    """One of the compared variants."""

    name: str
    """Also the name of its folder."""
    spec: JobSpec


@dataclass(frozen=True)
class Run:
    """An arm with a seed, launched as one training run."""

    arm: str
    spec: JobSpec
    """The arm's spec with the run's seed."""


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    title: str
    metric: str
    """Name of the metric in the run's reports."""
    digits: int = 3
    """Digits after the decimal point."""


@dataclass(frozen=True)
class Experiment:
    """A comparison of training runs that differ in one respect."""

    name: str
    question: str
    """The question that the table answers; used in the command's help and the table's title."""
    arms: Callable[[JobSpec], list[Arm]]
    """A pure function; raises `SpecError` where the spec leaves nothing to compare."""
    columns: Sequence[Column]
    baseline: str | None = None
    """The arm that the others are compared with when there are several seeds."""
    datasets: Callable[[JobSpec], Mapping[str, list[DatasetRow]]] = lambda spec: {}
    """Further datasets of the arms, by name, derived from the spec's datasets."""

    def runs(self, spec: JobSpec, seeds: Sequence[int]) -> list[Run]:
        """Every arm with every seed, arm by arm. All start from the same student, so only the first run evaluates it.

        Raises:
            SpecError: the spec leaves nothing to compare, or an arm is not a valid spec.
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
