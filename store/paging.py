"""Cursor pagination, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from store.errors import NotFound
from store.tables import Dataset, Job

Row = TypeVar("Row", Job, Dataset)


def newest_first(
    session: Session, table: type[Row], *, after: str | None, limit: int, only: Sequence[ColumnElement[bool]] = ()
) -> Sequence[Row]:
    """Up to `limit` rows older than the one whose id is `after`, of those that satisfy `only`; never deleted ones.

    Raises:
        NotFound: there is no such row.
    """
    query = select(table).where(*only).order_by(table.created_at.desc(), table.id.desc()).limit(limit)
    if table is Dataset:
        query = query.where(Dataset.deleted_at.is_(None))
    if after is not None:
        last = session.get(table, after)
        if last is None:
            raise NotFound(table.__name__.lower(), after)
        same_time = (table.created_at == last.created_at) & (table.id < last.id)
        query = query.where((table.created_at < last.created_at) | same_time)
    return session.scalars(query).all()
