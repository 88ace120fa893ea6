"""Is a spec acceptable here? Everything that can be known before a worker is bothered."""

from __future__ import annotations

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.auth import Caller
from api.idempotency import Once
from api.limits import LimitReached
from store import datasets, jobs, vitals
from store.errors import NotFound
from store.models import Registry
from store.settings import Settings
from store.tables import Dataset
from store.tables import Job as Row
from uniapl.errors import SpecError
from uniapl.spec.backend import ExternalServer
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import DatasetContents, check_mix
from uniapl.spec.resources import Job
from uniapl.spec.run import ModelSource
from uniapl.spec.teacher import OpenAITeacher


def admit(caller: Caller, once: Once, spec: JobSpec) -> Job:
    """Check the spec against datasets and models, and queue the job; it is durable when this returns.

    Raises:
        SpecError: it names something unknown or not allowed, or its datasets cannot feed its terms.
        LimitReached: the tenant has as many jobs as it may.
    """
    service = caller.service
    _check_teacher(service.settings, spec)
    _check_discriminator(service.settings, spec)
    models = _models(service.registry, spec)  # may ask the hub, so before the transaction begins
    created: Job | None = None

    def create(session: Session) -> Job:
        nonlocal created
        _check_number(session, service.settings.tenant_jobs)
        created = Job.model_validate(_create(session, spec, models))
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


def _create(session: Session, spec: JobSpec, models: dict[str, ModelSource]) -> Row:
    contents = []
    for i, entry in enumerate(spec.dataset_mix):
        dataset = _dataset(session, entry.dataset, f"dataset_mix.{i}.dataset")
        contents.append(DatasetContents(dataset.rows, dataset.references, dataset.rewards))
    check_mix(spec, contents)
    if spec.evaluation is not None:
        _dataset(session, spec.evaluation.dataset, "evaluation.dataset")
    return jobs.create(session, spec, models)


def _check_teacher(settings: Settings, spec: JobSpec) -> None:
    if not isinstance(spec.teacher, OpenAITeacher):
        return
    url = spec.teacher.base_url.rstrip("/") + "/"
    if not any(url.startswith(allowed.rstrip("/") + "/") for allowed in settings.teacher_urls):
        raise SpecError(
            f"the operator has not allowed teachers at {spec.teacher.base_url}",
            param="teacher.base_url",
            hint="allowed addresses are listed in the service's setting UNIAPL_TEACHER_URLS",
        )


def _check_discriminator(settings: Settings, spec: JobSpec) -> None:
    if spec.discriminator.type == "learned" or not isinstance(backend := spec.discriminator.backend, ExternalServer):
        return
    url = backend.url.rstrip("/") + "/"
    if not any(url.startswith(allowed.rstrip("/") + "/") for allowed in settings.discriminator_urls):
        raise SpecError(
            f"the operator has not allowed discriminators at {backend.url}",
            param="discriminator.backend.url",
            hint="allowed addresses are listed in the service's setting UNIAPL_DISCRIMINATOR_URLS",
        )


def _dataset(session: Session, dataset_id: str, param: str) -> Dataset:
    try:
        return datasets.get(session, dataset_id)
    except NotFound:
        raise SpecError(
            f"unknown dataset {dataset_id!r}",
            param=param,
            hint="upload it with POST /datasets and use the id from the answer",
        ) from None


def _models(registry: Registry, spec: JobSpec) -> dict[str, ModelSource]:
    models = {spec.student: registry.resolve(spec.student, "student", "student")}
    name = spec.discriminator.model
    if spec.uses_discriminator and name is not None:
        learned = spec.discriminator.type == "learned"  # it starts from a language model, as students do
        models[name] = registry.resolve(name, "student" if learned else "discriminator", "discriminator.model")
    return models
