"""Is a spec acceptable here? Everything that can be known before a worker is bothered."""

from __future__ import annotations

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.admission import estimate, lookup
from api.admission.server_policy import check_discriminator, check_teacher, need_secret
from api.auth import Caller
from api.http.rate_limits import LimitReached
from api.idempotency import Once
from store.jobs import lifecycle, stats
from store.tables import Job as Row
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import check_mix
from uniapl.spec.resources import Job


def admit(caller: Caller, once: Once, spec: JobSpec) -> Job:
    """Check the spec against datasets and models, and queue the job; it is durable when this returns.

    Raises:
        SpecError: it names something unknown or not allowed, or its datasets cannot feed its terms.
        MisfitError: it needs more memory than any worker has.
        LimitReached: the tenant has as many jobs as it may.
    """
    service = caller.service
    check_discriminator(service.settings, spec)
    check_teacher(service.settings, spec)  # may ask a resolver, and the next line the hub: no transaction is open
    models = lookup.find_models(service.registry, spec)
    misfit = estimate.misfit(caller, spec, models)  # reads datasets, so before it too
    created: Job | None = None

    def create(session: Session) -> Job:
        nonlocal created
        _check_number(session, service.settings.tenant_jobs)
        _check_datasets(session, spec)
        need_secret(session, spec)
        if misfit is not None:  # of a job that was accepted before, the answer stands whatever workers are there now
            raise misfit
        created = Job.model_validate(lifecycle.create(session, spec, models))
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
    if stats.open_jobs(session) >= most:
        raise LimitReached(f"{most} jobs are not over yet; wait for some, or cancel them", 30)


def _check_datasets(session: Session, spec: JobSpec) -> None:
    check_mix(spec, [lookup.contents(session, name, param, hold=True) for param, name in lookup.mixed(spec)])
    if spec.evaluation is not None:
        lookup.find_dataset(session, spec.evaluation.dataset, "evaluation.dataset", hold=True)
