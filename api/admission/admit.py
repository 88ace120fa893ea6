"""Is a spec acceptable here? Everything that can be known before a worker is bothered."""

from __future__ import annotations

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.admission.checks import Checks, raise_first
from api.auth import Caller
from api.http.rate_limits import LimitReached
from api.idempotency import Once
from store.jobs import lifecycle, stats
from store.tables import Job as Row
from uniapl.spec.job import JobSpec
from uniapl.spec.resources import Job


def admit(caller: Caller, once: Once, spec: JobSpec) -> Job:
    """Check the spec against datasets and models, and queue the job; it is durable when this returns.

    Raises:
        SpecError: it names something unknown or not allowed, or its datasets cannot feed its terms.
        MisfitError: it needs more memory than any worker has.
        LimitReached: the tenant has as many jobs as it may.
    """
    checks = Checks(caller, spec)
    raise_first(checks.remote())
    misfits = list(checks.capacity())
    created: Job | None = None

    def create(session: Session) -> Job:
        nonlocal created
        _check_number(session, caller.service.settings.tenant_jobs)
        raise_first(checks.stored(session, hold=True))
        raise_first(misfits)  # last: a job that was accepted before is answered again whatever workers are left
        created = Job.model_validate(lifecycle.create(session, spec, checks.models))
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
