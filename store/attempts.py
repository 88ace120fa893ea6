"""Attempts, looked up."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.errors import NotFound
from store.tables import Attempt


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
