"""Events of a job: numbered by a counter in the job's row, read in order from a cursor."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from store.tables import Event, EventType, Json
from uniapl.run.reports import Level

_ADD = insert(Event.__table__)  # type: ignore[arg-type]


def add(
    session: Session,
    job_id: str,
    seq: int,
    fence: int,
    message: str,
    *,
    level: Level = "info",
    type_: EventType = "state",
    data: Json | None = None,
) -> None:
    """Add event number `seq`, which the caller took from the job's counter in the same transaction."""
    values = {"job_id": job_id, "seq": seq, "fence": fence, "level": level, "message": message, "data": data or {}}
    session.execute(_ADD, {**values, "type": type_})


def before(session: Session, job_id: str, seq: int | None, limit: int) -> Sequence[Event]:
    """The newest `limit` events, or those before number `seq`, newest first."""
    query = select(Event).where(Event.job_id == job_id).order_by(Event.seq.desc()).limit(limit)
    return session.scalars(query if seq is None else query.where(Event.seq < seq)).all()


def after(session: Session, job_id: str, seq: int, limit: int) -> Sequence[Event]:
    """Up to `limit` events that follow number `seq`."""
    return session.scalars(
        select(Event).where(Event.job_id == job_id, Event.seq > seq).order_by(Event.seq).limit(limit)
    ).all()
