"""Idempotent responses: the response to a POST, stored under its `Idempotency-Key` in the transaction of its effect."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Executable, Table, bindparam, delete, update
from sqlalchemy.orm import Session

from store import tenants
from store.db import insert, now
from store.errors import Conflict
from store.tables import IdempotentResponse, Json

_RESPONSES = cast(Table, IdempotentResponse.__table__)
"""The table and not its class: the mapper took a third of a statement's time."""
_INSERTS: dict[str, Executable] = {}
"""The INSERT of a key by database dialect, built once: building a statement takes as long as sending it."""
_SAVE = (
    update(_RESPONSES)
    .where(_RESPONSES.c.tenant == bindparam("of"), _RESPONSES.c.key == bindparam("under"))
    .values(body=bindparam("answer"))
)
KEPT_S = 7 * 24 * 3600.0
"""Seconds for which a response is kept at least; then the workers' cleanup deletes it."""


def find(session: Session, key: str, request: str) -> Json | None:
    """The stored response to an equal request; `None` for the first one, whose response the caller then `save`s.

    A concurrent request with the same key blocks here until the transaction of the first one has ended.

    Raises:
        Conflict: the key was used for another request.
    """
    tenant = tenants.tenant_of(session)
    row = {"tenant": tenant, "key": key, "request": request, "body": {}}
    if session.execute(_insert_statement(session), row).one_or_none() is not None:
        return None
    known = session.get_one(IdempotentResponse, (tenant, key))
    if known.request != request:
        message = f"idempotency key {key!r} was used for another request; send a new key"
        raise Conflict("idempotency_key_reused", message)
    return known.body


def peek(session: Session, key: str, request: str) -> Json | None:
    """The stored response to an equal request; `None` without one, or where the key belongs to another request."""
    answer = session.get(IdempotentResponse, (tenants.tenant_of(session), key))
    return answer.body or None if answer is not None and answer.request == request else None


def _insert_statement(session: Session) -> Executable:
    kind = session.get_bind().dialect.name
    if kind not in _INSERTS:
        _INSERTS[kind] = insert(session, _RESPONSES).on_conflict_do_nothing().returning(_RESPONSES.c.key)
    return _INSERTS[kind]


def save(session: Session, key: str, body: Json) -> None:
    """Store the response of the request for which `find` returned `None`."""
    session.execute(_SAVE, {"of": tenants.tenant_of(session), "under": key, "answer": body})


def delete_expired(session: Session) -> None:
    """Delete the responses that are older than `KEPT_S`."""
    session.execute(delete(IdempotentResponse).where(IdempotentResponse.created_at < now() - KEPT_S))
