"""Everything that is wrong with a spec, at once: `POST /jobs` stops at the first thing, this goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from api.admission import estimate, lookup
from api.admission.server_policy import check_discriminator, check_teacher, need_secret
from api.auth import Caller
from api.http.problems import field_problems
from uniapl.errors import UniaplError
from uniapl.run.config import ModelSource
from uniapl.spec.estimate import SpecProblem, Validation
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import DatasetContents, mix_problems

INVALID_FIELD = "invalid_request"
"""Code of a field that is wrong by itself or against others, as `POST /jobs` answers it."""


def validate(caller: Caller, given: dict[str, Any]) -> Validation:
    """Check a spec as `POST /jobs` would, and store nothing.

    Where a field is wrong, the datasets and the student are still looked up as far as they can be read.
    """
    problems: list[SpecProblem] = []
    warnings: list[str] = []
    spec: JobSpec | None = None
    try:
        spec = JobSpec.model_validate(given)
    except ValidationError as error:
        problems += _field_problems(error, given)
        _look_up(caller, given, problems)
    if spec is not None:
        warnings = _check(caller, spec, problems)
    return Validation(valid=not problems, problems=problems, warnings=warnings, spec=spec)


def _field_problems(error: ValidationError, given: dict[str, Any]) -> list[SpecProblem]:
    found = [
        problem
        for details in error.errors()
        for problem in field_problems({**details, "loc": ("body", *details["loc"])}, given)
    ]
    return [SpecProblem(param=p["param"], code=INVALID_FIELD, message=p["reason"], hint=None) for p in found]


def _look_up(caller: Caller, given: dict[str, Any], problems: list[SpecProblem]) -> None:
    """Of a spec with a wrong field: whether what it names is there."""
    student, mix, held_out = given.get("student"), given.get("dataset_mix"), given.get("evaluation")
    if isinstance(student, str) and student:
        with _noting(problems):
            lookup.find_student(caller.service.registry, student)
    asked = [(f"dataset_mix.{i}.dataset", entry) for i, entry in enumerate(mix if isinstance(mix, list) else [])]
    asked.append(("evaluation.dataset", held_out))
    with caller.reading() as session:
        for param, entry in asked:
            dataset = entry.get("dataset") if isinstance(entry, dict) else None
            if isinstance(dataset, str) and "\x00" not in dataset:
                with _noting(problems):
                    lookup.find_dataset(session, dataset, param)


def _check(caller: Caller, spec: JobSpec, problems: list[SpecProblem]) -> list[str]:
    """What a whole spec names, and whether it fits; returns what may not be meant."""
    models: dict[str, ModelSource] = {}
    with _noting(problems):
        check_teacher(caller.service.settings, spec)
    with _noting(problems):
        check_discriminator(caller.service.settings, spec)
    with _noting(problems):
        models |= lookup.find_student(caller.service.registry, spec.student)
        lookup.check_sampler(spec, models[spec.student])
    if spec.uses_discriminator and spec.discriminator.model is not None:
        with _noting(problems):
            models |= lookup.find_discriminator(
                caller.service.registry, spec.discriminator.model, spec.discriminator.type
            )
    contents: list[DatasetContents] = []
    with caller.reading() as session:
        for param, name in lookup.mixed(spec):
            with _noting(problems):
                contents.append(lookup.contents(session, name, param))
        if spec.evaluation is not None:
            with _noting(problems):
                lookup.find_dataset(session, spec.evaluation.dataset, "evaluation.dataset")
        with _noting(problems):
            need_secret(session, spec)
    if len(contents) == len(spec.dataset_mix):
        problems += [_told(problem) for problem in mix_problems(spec, contents)]
    if not problems and (misfit := estimate.misfit(caller, spec, models)) is not None:
        problems.append(_told(misfit))
    return [] if problems else _warnings(caller, spec, models)


def _warnings(caller: Caller, spec: JobSpec, models: dict[str, ModelSource]) -> list[str]:
    found = estimate.estimate(caller, spec, models)
    told = [
        f"{role.left_out:.0%} of the rows of role {role.role!r} are beyond the limits of `data`, and are not used"
        for role in found.roles
        if role.left_out > 0
    ]
    return told + [f"memory: {found.reasons[0]}"] * (found.verdict != "fits")


@contextmanager
def _noting(problems: list[SpecProblem]) -> Iterator[None]:
    try:
        yield
    except UniaplError as error:
        problems.append(_told(error))


def _told(error: UniaplError) -> SpecProblem:
    return SpecProblem(param=error.param, code=error.code, message=error.message, hint=error.hint)
