"""Live workers and their hardware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from store.db import insert, now
from store.tables import Worker

ALIVE_LEASES = 3
"""Leases after which a worker without a report counts as dead."""
KEPT_LEASES = 1000
"""Leases after which its row is deleted: about a day with the default lease."""


def report(session: Session, worker_id: str, facts: dict[str, Any], lease_s: float) -> None:
    """Record that a worker is alive, and delete rows of workers that died long ago.

    Args:
        worker_id: as in `jobs.lease_owner`.
        facts: the hardware columns.
        lease_s: the configured lease.
    """
    statement = insert(session, Worker).values(id=worker_id, **facts)
    session.execute(statement.on_conflict_do_update(index_elements=["id"], set_={**facts, "seen_at": now()}))
    session.execute(delete(Worker).where(Worker.seen_at < now() - KEPT_LEASES * lease_s))


def alive(session: Session, lease_s: float) -> Sequence[Worker]:
    """Workers that reported within `ALIVE_LEASES`, newest first."""
    recent = Worker.seen_at > now() - ALIVE_LEASES * lease_s
    return session.scalars(select(Worker).where(recent).order_by(Worker.started_at.desc(), Worker.id)).all()
