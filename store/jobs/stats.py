"""How the service is doing, in numbers: what `/metrics` shows and `uniapl admin doctor` judges."""

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
    """Counted in the database, so that they hold whatever process has been restarted."""

    jobs: Mapping[str, int]
    """By state; every state is there, and those of a newer release that jobs are in."""
    queue_age_s: float
    """How long the oldest queued job has existed; 0 when none waits."""
    expired_leases: int
    """Active jobs whose holder has been silent for longer than its lease."""
    oldest_lease_s: float
    """Seconds since the most overdue lease ran out; 0 when none has."""
    attempts: Mapping[str, int]
    """Attempts that have ended, by how: `done`, `preempted`, `worker_lost`, `trainer_killed`, …"""
    fences: int
    """Claims that were granted."""
    steps: int
    """Policy updates of all jobs."""


def read(session: Session) -> ServiceStats:
    """Look."""
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
"""Written once, and of the table rather than its class: every POST asks it."""


def open_jobs(session: Session) -> int:
    """How many jobs of the session's tenant are not over."""
    return session.scalar(_OPEN, {"tenant": tenants.of(session)}) or 0
