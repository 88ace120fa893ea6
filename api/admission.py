"""Is a spec acceptable here? Everything that can be known before a worker is bothered."""

from __future__ import annotations

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api import plan
from api.auth import Caller
from api.idempotency import Once
from api.jobs import to_job
from api.limits import LimitReached
from store import datasets, jobs, vitals
from store.errors import NotFound
from store.models import Registry
from store.settings import Settings
from store.tables import Dataset
from store.tables import Job as Row
from uniapl.errors import SpecError
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import DatasetContents, check_mix
from uniapl.spec.resources import Job
from uniapl.spec.run import ModelSource
from uniapl.spec.teacher import OpenAITeacher


def admit(caller: Caller, once: Once, spec: JobSpec) -> Job:
    """Check the spec against datasets and models, and queue the job; it is durable when this returns.

    Raises:
        SpecError: it names something unknown or not allowed, or its datasets cannot feed its terms.
        MisfitError: it needs more memory than any worker has.
        LimitReached: the tenant has as many jobs as it may.
    """
    service = caller.service
    check_teacher(service.settings, spec)
    models = find_models(service.registry, spec)  # may ask the hub, so before the transaction begins
    misfit = plan.misfit(caller, spec, models)  # reads datasets, so before it too
    created: Job | None = None

    def create(session: Session) -> Job:
        nonlocal created
        _check_number(session, service.settings.tenant_jobs)
        _check_datasets(session, spec)
        if misfit is not None:  # of a job that was accepted before, the answer stands whatever workers are there now
            raise misfit
        created = to_job(session, jobs.create(session, spec, models), service)
        return created

    try:
        return once.answer(caller, Job, create)
    except OperationalError:
        if created is None:
            raise
        with caller.reading() as session:  # the commit's answer may be lost, and not the commit
            found = session.get(Row, created.id)
        if found is None:
            raise
        return created


def _check_number(session: Session, most: int) -> None:
    if vitals.open_jobs(session) >= most:
        raise LimitReached(f"{most} jobs are not over yet; wait for some, or cancel them", 30)


def _check_datasets(session: Session, spec: JobSpec) -> None:
    check_mix(spec, [contents(session, name, param) for param, name in mixed(spec)])
    if spec.evaluation is not None:
        find_dataset(session, spec.evaluation.dataset, "evaluation.dataset")


def mixed(spec: JobSpec) -> list[tuple[str, str]]:
    """The datasets of the mix: field and id."""
    return [(f"dataset_mix.{i}.dataset", entry.dataset) for i, entry in enumerate(spec.dataset_mix)]


def check_teacher(settings: Settings, spec: JobSpec) -> None:
    """Raises `SpecError` if the operator has not allowed the teacher's address."""
    if not isinstance(spec.teacher, OpenAITeacher):
        return
    url = spec.teacher.base_url.rstrip("/") + "/"
    if not any(url.startswith(allowed.rstrip("/") + "/") for allowed in settings.teacher_urls):
        raise SpecError(
            f"the operator has not allowed teachers at {spec.teacher.base_url}",
            param="teacher.base_url",
            hint="allowed addresses are listed in the service's setting UNIAPL_TEACHER_URLS",
        )


def find_dataset(session: Session, dataset_id: str, param: str) -> Dataset:
    """One dataset.

    Raises:
        SpecError: there is none; `param` is the field that names it.
    """
    try:
        return datasets.get(session, dataset_id)
    except NotFound:
        raise SpecError(
            f"unknown dataset {dataset_id!r}",
            param=param,
            hint="upload it with POST /datasets and use the id from the answer",
        ) from None


def contents(session: Session, dataset_id: str, param: str) -> DatasetContents:
    """What the rows of a dataset carry; raises as `find_dataset`."""
    dataset = find_dataset(session, dataset_id, param)
    return DatasetContents(dataset.rows, dataset.references, dataset.rewards)


def find_models(registry: Registry, spec: JobSpec) -> dict[str, ModelSource]:
    """Where the models of a spec are.

    Raises:
        SpecError: one is unknown, or of another kind.
    """
    models = find_student(registry, spec.student)
    name = spec.discriminator.model
    if spec.uses_discriminator and name is not None:
        models |= find_discriminator(registry, name, spec.discriminator.type)
    return models


def find_student(registry: Registry, name: str) -> dict[str, ModelSource]:
    """Where the student is; raises as `find_models`."""
    return {name: registry.resolve(name, "student", "student")}


def find_discriminator(registry: Registry, name: str, type_: str) -> dict[str, ModelSource]:
    """Where the discriminator is; a learned one starts from a language model, as students do."""
    return {name: registry.resolve(name, "student" if type_ == "learned" else "discriminator", "discriminator.model")}
