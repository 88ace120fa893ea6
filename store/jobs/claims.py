"""Claims of jobs, and the writes of their holders: each statement is guarded by the fence, none changes the state.

A *holder* is a worker that has claimed a job; once another claim has raised the fence, its writes change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Row, func, select, update
from sqlalchemy.orm import Session

from store.db import now
from store.errors import FenceLost, NotFound
from store.jobs import events
from store.states import ACTIVE
from store.tables import Attempt, Job, Json
from uniapl.run.config import ModelSource
from uniapl.run.reports import Level
from uniapl.spec.job import JobSpec
from uniapl.spec.older import SAMPLER_REFUSED

T = TypeVar("T")
MODELS = TypeAdapter(dict[str, ModelSource])
"""Sources of a job's models, as they are stored."""


@dataclass(frozen=True)
class Claim:
    """A granted claim."""

    job_id: str
    fence: int
    attempt: int
    stored_spec: Json
    stored_models: Json
    tenant: str
    """Tenant of the job."""
    traceparent: str | None = None
    """Trace context of the request that created the job."""
    keeps_sampler: bool = False
    """Whether any worker uses the sampler that the spec names; a new run's may be refused."""

    @cached_property
    def spec(self) -> JobSpec:
        """The job's spec.

        Raises:
            ValidationError: this worker cannot read it; the attempt fails, not the claim.
        """
        return JobSpec.model_validate(self.stored_spec)

    @cached_property
    def models(self) -> dict[str, ModelSource]:
        """Sources of its models by name; raises as `spec`."""
        return MODELS.validate_python(self.stored_models)


def keeps_sampler(job: Job, *, earlier: int) -> bool:
    """Whether a job with `earlier` attempts continues a run, or is older than the refusal of its sampler."""
    return earlier > 0 or job.spec_version < SAMPLER_REFUSED


@dataclass(frozen=True)
class Intents:
    """Pending requests of the user."""

    cancel: bool
    pause: bool


def running_on(session: Session, boot_id: str) -> bool:
    """Whether a worker on the machine with this boot id, in any container, holds a job."""
    current = (Attempt.job_id == Job.id) & (Attempt.fence == Job.fence)
    held = select(Attempt.job_id).join(Job, current).where(Job.state.in_(ACTIVE), Attempt.boot_id == boot_id)
    return session.scalar(held.limit(1)) is not None


def renew(session: Session, claim: Claim, lease_s: float) -> None:
    """Extend the lease.

    Raises:
        FenceLost: another worker claimed the job.
    """
    _write(session, claim, lease_expires_at=now() + lease_s)


def update_job(session: Session, claim: Claim, **values: Any) -> None:
    """Set columns of a held job (`step`, `phase`, `fruitless_attempts`); without values, only check the fence and lock
    the row.

    Raises:
        FenceLost: another worker claimed the job.
    """
    _write(session, claim, **(values or {"fence": Job.fence}))


def add_event(session: Session, claim: Claim, message: str, *, level: Level = "info", data: Json | None = None) -> None:
    """Add an event.

    Raises:
        FenceLost: another worker claimed the job.
    """
    seq = _write(session, claim, event_seq=Job.event_seq + 1).event_seq
    events.add(session, claim.job_id, seq, claim.fence, message, level=level, type_="message", data=data)


def intents(session: Session, job_id: str) -> Intents:
    """The user's current intents."""
    row = session.execute(select(Job.cancel_requested_at, Job.pause_requested_at).where(Job.id == job_id)).one()
    return Intents(cancel=row.cancel_requested_at is not None, pause=row.pause_requested_at is not None)


def update_attempt(session: Session, job_id: str, fence: int, **values: Any) -> None:
    """Set columns of an attempt's row (`pgid`, `resumed_from`, `relay_closed`, …), which no later claim writes."""
    session.execute(update(Attempt).where(Attempt.job_id == job_id, Attempt.fence == fence).values(**values))


def end_attempt(session: Session, job_id: str, fence: int, exit_kind: str, *, relay_closed: bool = False) -> None:
    """Record how an attempt ended, and whether all its reports were relayed."""
    update_attempt(session, job_id, fence, ended_at=now(), exit_kind=exit_kind, relay_closed=relay_closed)


def require_claim(row: T | None, claim: Claim) -> T:
    """The row of a guarded statement.

    Raises:
        FenceLost: the statement matched no row: another worker claimed the job.
    """
    if row is None:
        raise FenceLost(claim.job_id, claim.fence)
    return row


def _write(session: Session, claim: Claim, **values: Any) -> Row[int]:
    row = session.execute(
        update(Job)
        .where(Job.id == claim.job_id, Job.state.in_(ACTIVE), Job.fence == claim.fence)
        .values(**values)
        .returning(Job.event_seq)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return require_claim(row, claim)


def fence_of(session: Session, job_id: str, attempt: int | None) -> int:
    """The fence of an attempt, by default of the newest.

    Raises:
        NotFound: there is no such attempt.
    """
    query = select(func.max(Attempt.fence)).where(Attempt.job_id == job_id)
    fence = session.scalar(query if attempt is None else query.where(Attempt.attempt == attempt))
    if fence is None:
        raise NotFound("attempt", str(attempt or "newest"))
    return fence
