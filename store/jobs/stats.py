"""Service statistics, exported by `/metrics` and checked by `uniapl admin doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from store import tenants
from store.db import now
from store.states import ACTIVE, STATES, TERMINAL, State
from store.tables import Attempt, Job


@dataclass(frozen=True)
class ServiceStats:
    """Counted in the database, so that they survive restarts of any process."""

    jobs: Mapping[str, int]
    """Number of jobs by state: every known state, and unknown ones of a newer release that occur."""
    queue_age_s: float
    """Age of the oldest queued job; 0 without one."""
    expired_leases: int
    """Active jobs whose lease has expired."""
    oldest_lease_s: float
    """Seconds since the first expired lease expired; 0 without one."""
    attempts: Mapping[str, int]
    """Ended attempts by exit kind: `done`, `preempted`, `worker_lost`, `trainer_killed`, …"""
    fences: int
    """Granted claims."""
    steps: int
    """Policy updates of all jobs."""


def read(session: Session) -> ServiceStats:
    """Query the statistics."""
    counted = {str(state): n for state, n in session.execute(select(Job.state, func.count()).group_by(Job.state))}
    overdue = select(func.count(), func.min(Job.lease_expires_at)).where(
        Job.state.in_(ACTIVE), Job.lease_expires_at < now()
    )
    expired, since = session.execute(overdue).one()
    oldest = session.scalar(select(func.min(Job.created_at)).where(Job.state == State.QUEUED))
    clock = session.scalar(select(now())) or 0.0
    ends = select(Attempt.exit_kind, func.count()).where(Attempt.exit_kind.is_not(None)).group_by(Attempt.exit_kind)
    return ServiceStats(
        jobs=dict.fromkeys(map(str, STATES), 0) | counted,
        queue_age_s=max(0.0, clock - oldest) if oldest is not None else 0.0,
        expired_leases=expired,
        oldest_lease_s=max(0.0, clock - since) if since is not None else 0.0,
        attempts={str(kind): count for kind, count in session.execute(ends)},
        fences=session.scalar(select(func.count()).select_from(Attempt)) or 0,
        steps=session.scalar(select(func.coalesce(func.sum(Job.step), 0))) or 0,
    )


_JOBS = Job.__table__
_OPEN = select(func.count()).where(_JOBS.c.tenant == bindparam("tenant"), _JOBS.c.state.not_in(TERMINAL))
"""Built once, from the table rather than its class: every POST runs it."""


def open_jobs(session: Session) -> int:
    """Number of unfinished jobs of the session's tenant."""
    return session.scalar(_OPEN, {"tenant": tenants.tenant_of(session)}) or 0
