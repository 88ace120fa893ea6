"""Idempotency: the answer to a POST is kept under its caller's key, in the transaction of its effect."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Executable, Table, bindparam, delete, update
from sqlalchemy.orm import Session

from store import tenants
from store.db import insert, now
from store.errors import Conflict
from store.tables import Answer, Json

_ANSWERS = cast(Table, Answer.__table__)
"""The table and not its class: the mapper's part of a statement took a third of its time."""
_TAKING: dict[str, Executable] = {}
"""The INSERT of a key by the database's kind: to put a statement together takes as long as to send it."""
_KEEPING = (
    update(_ANSWERS)
    .where(_ANSWERS.c.tenant == bindparam("of"), _ANSWERS.c.key == bindparam("under"))
    .values(body=bindparam("answer"))
)
KEPT_S = 7 * 24 * 3600.0
"""So long at least; then the workers clear them away."""


def earlier(session: Session, key: str, request: str) -> Json | None:
    """What an equal request was answered; `None` when this one is the first, and goes on to `keep` its answer.

    Whoever asks at the same moment waits here until the first one's transaction has ended.

    Raises:
        Conflict: the key was used for another request.
    """
    tenant = tenants.of(session)
    row = {"tenant": tenant, "key": key, "request": request, "body": {}}
    if session.execute(_taking(session), row).one_or_none() is not None:
        return None
    known = session.get_one(Answer, (tenant, key))
    if known.request != request:
        message = f"idempotency key {key!r} was used for another request; take a new one"
        raise Conflict("idempotency_key_reused", message)
    return known.body


def known(session: Session, key: str, request: str) -> Json | None:
    """What an equal request was answered; `None` without one, also where the key was used for another."""
    answer = session.get(Answer, (tenants.of(session), key))
    return answer.body or None if answer is not None and answer.request == request else None


def _taking(session: Session) -> Executable:
    kind = session.get_bind().dialect.name
    if kind not in _TAKING:
        _TAKING[kind] = insert(session, _ANSWERS).on_conflict_do_nothing().returning(_ANSWERS.c.key)
    return _TAKING[kind]


def keep(session: Session, key: str, body: Json) -> None:
    """Keep the answer of the request that was the first."""
    session.execute(_KEEPING, {"of": tenants.of(session), "under": key, "answer": body})


def forget_old(session: Session) -> None:
    """Drop the answers that are no longer kept."""
    session.execute(delete(Answer).where(Answer.created_at < now() - KEPT_S))
