"""Is a spec acceptable here? Everything that can be known before a worker is bothered."""

from __future__ import annotations

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.deps import Service
from store import datasets, jobs
from store.db import reading, unit_of_work
from store.errors import NotFound
from store.models import Registry
from store.settings import Settings
from store.tables import Dataset, Job
from uniapl.errors import SpecError
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import DatasetContents, check_mix
from uniapl.spec.run import ModelSource
from uniapl.spec.teacher import OpenAITeacher


def admit(service: Service, spec: JobSpec) -> Job:
    """Check the spec against datasets and models, and queue the job; it is durable when this returns.

    Raises:
        SpecError: it names something unknown or not allowed, or its datasets cannot feed its terms.
    """
    _check_teacher(service.settings, spec)
    models = _models(service.registry, spec)  # may ask the hub, so before the transaction begins
    created: Job | None = None
    try:
        with unit_of_work(service.engine) as session:
            created = _create(session, spec, models)
    except OperationalError:
        if created is None:
            raise
        with reading(service.engine) as session:  # the commit's answer may be lost, and not the commit
            found = session.get(Job, created.id)
        if found is None:
            raise
    return created


def _create(session: Session, spec: JobSpec, models: dict[str, ModelSource]) -> Job:
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


def _dataset(session: Session, dataset_id: str, param: str) -> Dataset:
    try:
        return datasets.use(session, dataset_id)
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
