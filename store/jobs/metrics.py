"""Metrics and samples, upserted under a fence: the value of the newer attempt wins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from store.db import insert
from store.tables import Base, Metric, Sample

ROWS = 1000
"""Rows per statement: both databases limit the number of parameters."""


def put_metrics(session: Session, job_id: str, fence: int, points: Sequence[tuple[str, int, float]]) -> None:
    """Write (name, step, value) points; writing them again changes nothing.

    Non-finite values are skipped: SQLite rejects the whole statement, and Postgres sorts NaN above all numbers.
    """
    finite = [point for point in points if math.isfinite(point[2])]
    rows = [{"job_id": job_id, "fence": fence, "name": n, "step": s, "value": v} for n, s, v in finite]
    _upsert(session, Metric, rows)


def put_sample(session: Session, job_id: str, fence: int, **fields: Any) -> None:
    """Write one sample; writing it again changes nothing."""
    _upsert(session, Sample, [{"job_id": job_id, "fence": fence, **fields}])


def metrics(
    session: Session, job_id: str, *, names: Sequence[str] | None, since_step: int, limit: int
) -> Sequence[Metric]:
    """Points after `since_step`, by step and name."""
    query = select(Metric).where(Metric.job_id == job_id, Metric.step > since_step)
    if names:
        query = query.where(Metric.name.in_(names))
    return session.scalars(query.order_by(Metric.step, Metric.name).limit(limit)).all()


def at_step(session: Session, job_id: str, step: int) -> dict[str, float]:
    """Every number of one step, by name."""
    query = select(Metric.name, Metric.value).where(Metric.job_id == job_id, Metric.step == step)
    return {row.name: row.value for row in session.execute(query)}


def thinned(
    session: Session, job_id: str, *, names: Sequence[str] | None, since_step: int, max_points: int
) -> Sequence[Row[str, int, float]]:
    """At most `max_points` per name, by step and name: each of equally long ranges of steps yields the mean of its
    values at its last step. Columns are `name`, `step`, `value`."""
    wanted = [Metric.job_id == job_id, Metric.step > since_step, *([Metric.name.in_(names)] if names else [])]
    first, last = session.execute(select(func.min(Metric.step), func.max(Metric.step)).where(*wanted)).one()
    if first is None:
        return []
    stretch = (Metric.step - first) // -(-(last - first + 1) // max_points)
    at = func.max(Metric.step).label("step")
    query = select(Metric.name, at, func.avg(Metric.value).label("value")).where(*wanted)
    return session.execute(query.group_by(Metric.name, stretch).order_by(at, Metric.name)).all()


def samples(session: Session, job_id: str, *, step: int | None) -> Sequence[Sample]:
    """Samples of one step, or of all."""
    query = select(Sample).where(Sample.job_id == job_id)
    if step is not None:
        query = query.where(Sample.step == step)
    return session.scalars(query.order_by(Sample.step, Sample.row)).all()


def _upsert(session: Session, table: type[Base], rows: list[dict[str, Any]]) -> None:
    """One statement for many rows. `executemany` would use a pipeline, during which Postgres counts no idle time: the
    locks of a stopped client would stay."""
    keys = [column.name for column in table.__table__.primary_key]
    columns = table.__table__.columns.keys()
    for start in range(0, len(rows), ROWS):
        statement = insert(session, table).values(rows[start : start + ROWS])
        session.execute(
            statement.on_conflict_do_update(
                index_elements=keys,
                set_={c: statement.excluded[c] for c in columns if c not in keys},
                where=statement.excluded.fence >= table.__table__.c.fence,
            )
        )
