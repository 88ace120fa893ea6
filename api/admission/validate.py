"""Validation of a job spec: every problem, where `POST /jobs` reports the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from api.admission import estimate, lookup
from api.admission.checks import Checks
from api.admission.rendering import rendered
from api.auth import Caller
from api.http.problems import field_problems
from uniapl.errors import UniaplError
from uniapl.estimate import adversarial_share
from uniapl.run.config import ModelSource
from uniapl.spec.dead_options import dead_options
from uniapl.spec.estimate import RenderedRow, SpecProblem, Validation
from uniapl.spec.job import JobSpec

INVALID_FIELD = "invalid_request"
"""Error code of invalid and contradictory fields, as for `POST /jobs`."""

NEGLIGIBLE, DOMINANT = 0.01, 3.0
"""Shares of the adversarial term outside these bounds are warned of; the published range has 1 % to 100 %."""


def validate(caller: Caller, given: dict[str, Any]) -> Validation:
    """Check a spec as `POST /jobs` does; nothing is stored.

    Where fields are invalid, the datasets and the student are still looked up as far as they are readable.
    """
    problems: list[SpecProblem] = []
    warnings: list[str] = []
    spec: JobSpec | None = None
    shown: RenderedRow | None = None
    try:
        spec = JobSpec.model_validate(given)
    except ValidationError as error:
        problems += _field_problems(error, given)
        _look_up(caller, given, problems)
    if spec is not None:
        warnings, shown = _check(caller, spec, problems)
    share = adversarial_share(spec, spec.rollout.max_new_tokens) if spec is not None else None
    if share is not None and not NEGLIGIBLE <= share.share <= DOMINANT:
        warnings.append(f"{share.basis}; change lambda_adv if that is not intended")
    return Validation(
        valid=not problems, problems=problems, warnings=warnings, rendered=shown, spec=spec, adversarial=share
    )


def _field_problems(error: ValidationError, given: dict[str, Any]) -> list[SpecProblem]:
    problems = [
        problem
        for details in error.errors()
        for problem in field_problems({**details, "loc": ("body", *details["loc"])}, given)
    ]
    return [SpecProblem(param=p["param"], code=INVALID_FIELD, message=p["reason"], hint=None) for p in problems]


def _look_up(caller: Caller, given: dict[str, Any], problems: list[SpecProblem]) -> None:
    """Add the problems of the names in a spec that has invalid fields."""
    student, mix, held_out = given.get("student"), given.get("dataset_mix"), given.get("evaluation")
    if isinstance(student, str) and student:
        with _collecting(problems):
            lookup.find_student(caller.service.registry, student)
    named = [(f"dataset_mix.{i}.dataset", entry) for i, entry in enumerate(mix if isinstance(mix, list) else [])]
    named.append(("evaluation.dataset", held_out))
    with caller.reading() as session:
        for param, entry in named:
            dataset = entry.get("dataset") if isinstance(entry, dict) else None
            if isinstance(dataset, str) and "\x00" not in dataset:
                with _collecting(problems):
                    lookup.find_dataset(session, dataset, param)


def _check(caller: Caller, spec: JobSpec, problems: list[SpecProblem]) -> tuple[list[str], RenderedRow | None]:
    """Add the problems of a spec with valid fields; returns warnings, and a row as it will be trained."""
    checks = Checks(caller, spec)
    errors = list(checks.remote())
    with caller.reading() as session:
        errors += checks.stored(session)
    if not errors:
        errors += checks.capacity()
    problems += map(_problem, errors)
    if errors:
        return [], None
    found = list(rendered(caller, spec, checks.models[spec.student]))
    problems += [_problem(error) for rows in found for error in rows.problems]
    warnings = dead_options(spec) + _warnings(caller, spec, checks.models)
    if (long := checks.beyond_positions) is not None:
        warnings.append(f"{long.message}; {long.remedy}")
    warnings += [warning for rows in found for warning in rows.warnings]
    rows_shown = sorted((rows.first for rows in found if rows.first), key=lambda row: row.trained is None)
    return warnings, next(iter(rows_shown), None)


def _warnings(caller: Caller, spec: JobSpec, models: dict[str, ModelSource]) -> list[str]:
    result = estimate.estimate(caller, spec, models)
    unused = [
        f"{role.left_out:.0%} of the rows of role {role.role!r} exceed the limits of `data` and are not used"
        for role in result.roles
        if role.left_out > 0
    ]
    return unused + [f"memory: {result.reasons[0]}"] * (result.verdict != "fits")


@contextmanager
def _collecting(problems: list[SpecProblem]) -> Iterator[None]:
    try:
        yield
    except UniaplError as error:
        problems.append(_problem(error))


def _problem(error: UniaplError) -> SpecProblem:
    return SpecProblem(param=error.param, code=error.code, message=error.message, hint=error.hint)
