"""API keys: who may do what, for whom."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from store.access.keyring import SecretKey
from store.db import now
from store.errors import NotFound
from store.tables import Key

Scope = Literal["jobs:read", "jobs:write", "datasets:write", "checkpoints:read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}")
PREFIX = "uapl"
_KEYS = Key.__table__
_KNOWN = select(_KEYS, now().label("clock")).where(_KEYS.c.id == bindparam("key"))
"""Written once, and of the table rather than its class: every request asks it."""
_SHAPE = re.compile(rf"{PREFIX}_([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")


class InvalidKey(Exception):
    """The presented key lets nobody in; the message says why, without a word about keys that exist."""


@dataclass(frozen=True)
class Grant:
    """What a valid key allows."""

    tenant: str
    key_id: str
    scopes: frozenset[Scope]

    def allows(self, scope: Scope) -> bool:
        """`admin` includes the others."""
        return scope in self.scopes or "admin" in self.scopes


EVERYTHING = frozenset(SCOPES)


def create(
    session: Session,
    secret_key: SecretKey,
    *,
    tenant: str,
    name: str,
    scopes: Iterable[Scope] = SCOPES,
    expires_in_s: float | None = None,
) -> tuple[Key, str]:
    """Make a key; the second value is the key itself, which nobody can show again.

    Raises:
        ValueError: the tenant is not a name, or a scope does not exist.
    """
    if NAME.fullmatch(tenant) is None:
        raise ValueError(f"tenant {tenant!r}: begin with a letter or digit, go on with those and . _ -, all lower case")
    wanted = set(scopes)
    if not wanted or not wanted <= EVERYTHING:
        raise ValueError(f"scopes must be some of {' '.join(SCOPES)}")
    secret = secrets.token_urlsafe(32)
    key = Key(
        id=secrets.token_hex(8),
        tenant=tenant,
        name=name,
        digest=secret_key.digest(secret),
        scopes=" ".join(scope for scope in SCOPES if scope in wanted),
        expires_at=None if expires_in_s is None else now() + expires_in_s,
    )
    session.add(key)
    session.flush()
    session.refresh(key)
    return key, f"{PREFIX}_{key.id}_{secret}"


def authenticate(session: Session, secret_key: SecretKey, presented: str) -> Grant:
    """What the presented key allows.

    Raises:
        InvalidKey: it is no key, was revoked, or has expired.
    """
    shape = _SHAPE.fullmatch(presented)
    key = session.execute(_KNOWN, {"key": shape[1]}).one_or_none() if shape else None
    if shape is None or key is None or not secret_key.matches(shape[2], key.digest):
        raise InvalidKey("the API key is not valid")
    if key.revoked_at is not None:
        raise InvalidKey("the API key has been revoked")
    if key.expires_at is not None and key.expires_at <= key.clock:
        raise InvalidKey("the API key has expired")
    return Grant(key.tenant, key.id, frozenset(scope for scope in SCOPES if scope in key.scopes.split()))


def revoke(session: Session, key_id: str) -> Key:
    """End a key at once. Doing so twice changes nothing.

    Raises:
        NotFound: there is none.
    """
    session.execute(
        update(Key).where(Key.id == key_id, Key.revoked_at.is_(None)).values(revoked_at=now()),
        execution_options={"synchronize_session": False},
    )
    return _get(session, key_id)


def rotate(session: Session, secret_key: SecretKey, key_id: str, *, grace_s: float) -> tuple[Key, str]:
    """A new key with the tenant, name, scopes and lifetime of an old one, which expires after `grace_s`.

    Raises:
        NotFound: there is no such key.
        ValueError: the old key is revoked.
    """
    old = _get(session, key_id)
    if old.revoked_at is not None:
        raise ValueError(f"key {key_id} is revoked; create another")
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    ends_at = (session.scalar(select(now())) or 0.0) + grace_s
    old.expires_at = ends_at if old.expires_at is None else min(old.expires_at, ends_at)
    scopes = [scope for scope in SCOPES if scope in old.scopes.split()]
    return create(session, secret_key, tenant=old.tenant, name=old.name, scopes=scopes, expires_in_s=lifetime)


def all_of(session: Session) -> Sequence[Key]:
    """Every key, oldest first."""
    return session.scalars(select(Key).order_by(Key.created_at, Key.id)).all()


def _get(session: Session, key_id: str) -> Key:
    key = session.get(Key, key_id, populate_existing=True)
    if key is None:
        raise NotFound("key", key_id)
    return key
