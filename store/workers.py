"""The workers that are alive, and what they run on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from store.db import insert, now
from store.tables import Worker

ALIVE_LEASES = 3
"""A worker that has been silent for so many leases is taken for dead."""
KEPT_LEASES = 1000
"""After so many its row is removed: a day, with the lease as it is by default."""


def report(session: Session, worker_id: str, facts: dict[str, Any], lease_s: float) -> None:
    """A worker says that it lives; rows of those long dead go.

    Args:
        worker_id: as in `jobs.lease_owner`.
        facts: the columns that say what it runs on.
        lease_s: the lease in force.
    """
    statement = insert(session, Worker).values(id=worker_id, **facts)
    session.execute(statement.on_conflict_do_update(index_elements=["id"], set_={**facts, "seen_at": now()}))
    session.execute(delete(Worker).where(Worker.seen_at < now() - KEPT_LEASES * lease_s))


def alive(session: Session, lease_s: float) -> Sequence[Worker]:
    """Those heard of within `ALIVE_LEASES`, newest first."""
    recent = Worker.seen_at > now() - ALIVE_LEASES * lease_s
    return session.scalars(select(Worker).where(recent).order_by(Worker.started_at.desc(), Worker.id)).all()
