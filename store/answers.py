"""Idempotency: the answer to a POST is kept under its caller's key, in the transaction of its effect."""

from __future__ import annotations

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from store import tenants
from store.db import insert, now
from store.errors import Conflict
from store.tables import Answer, Json

KEPT_S = 7 * 24 * 3600.0
"""So long at least; then the workers clear them away."""


def earlier(session: Session, key: str, request: str) -> Json | None:
    """What an equal request was answered; `None` when this one is the first, and goes on to `keep` its answer.

    Whoever asks at the same moment waits here until the first one's transaction has ended.

    Raises:
        Conflict: the key was used for another request.
    """
    tenant = tenants.of(session)
    row = {"tenant": tenant, "key": key, "request": request, "body": {}, "created_at": now()}
    first = session.execute(insert(session, Answer).values(row).on_conflict_do_nothing().returning(Answer.key))
    if first.one_or_none() is not None:
        return None
    known = session.get_one(Answer, (tenant, key))
    if known.request != request:
        message = f"idempotency key {key!r} was used for another request; take a new one"
        raise Conflict("idempotency_key_reused", message)
    return known.body


def keep(session: Session, key: str, body: Json) -> None:
    """Keep the answer of the request that was the first."""
    session.execute(update(Answer).where(Answer.tenant == tenants.of(session), Answer.key == key).values(body=body))


def forget_old(session: Session) -> None:
    """Drop the answers that are no longer kept."""
    session.execute(delete(Answer).where(Answer.created_at < now() - KEPT_S))
