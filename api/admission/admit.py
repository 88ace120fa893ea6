"""Admission of a job: its spec is checked, then it is queued."""

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
    """Check a spec against datasets, models and workers, and queue the job; it is durable on return.

    Raises:
        SpecError: a name is unknown or forbidden, or the datasets lack what the terms need.
        MisfitError: the job needs more memory than any live worker has.
        VllmMissingError: the spec names a vLLM server, and no live worker has vLLM.
        LibraryMissingError: an option needs a library that no live worker has.
        SamplerRefusedError: the spec names the trainer's process as sampler, and every live worker samples by vLLM.
        LimitReached: the tenant has reached its limit of unfinished jobs.
    """
    checks = Checks(caller, spec)
    raise_first(checks.remote())
    misfits = list(checks.capacity())
    created: Job | None = None

    def create(session: Session) -> Job:
        nonlocal created
        _check_number(session, caller.service.settings.tenant_jobs)
        raise_first(checks.stored(session, hold=True))
        raise_first(
            misfits
        )  # last and inside, since a repeated request gets its stored response whatever workers are left
        created = Job.model_validate(lifecycle.create(session, spec, checks.models))
        return created

    try:
        return once.answer(caller, Job, create)
    except OperationalError:
        if created is None:
            raise
        with caller.reading() as session:  # the response of the commit may be lost although it succeeded
            stored = session.get(Row, created.id)
        if stored is None:
            raise
        return created


def _check_number(session: Session, most: int) -> None:
    if stats.open_jobs(session) >= most:
        raise LimitReached(f"the limit of {most} unfinished jobs is reached; wait for some to end, or cancel some", 30)
