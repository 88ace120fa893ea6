"""API keys: authentication, scopes and tenants."""

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
"""Built once, from the table rather than its class: every request runs it."""
_SHAPE = re.compile(rf"{PREFIX}_([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")


class InvalidKey(Exception):
    """The presented key is not accepted; the message states the reason and reveals nothing about existing keys."""


@dataclass(frozen=True)
class Grant:
    """Permissions of a valid key."""

    tenant: str
    key_id: str
    scopes: frozenset[Scope]

    def allows(self, scope: Scope) -> bool:
        """Whether the key has a scope; `admin` includes all others."""
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
    """Create a key; the second value is the key itself, which cannot be retrieved later.

    Raises:
        ValueError: the tenant's name is invalid, or a scope does not exist.
    """
    if NAME.fullmatch(tenant) is None:
        raise ValueError(
            f"tenant {tenant!r} is invalid: use lower-case letters, digits and . _ -, beginning with a letter or digit"
        )
    wanted = set(scopes)
    if not wanted or not wanted <= EVERYTHING:
        raise ValueError(f"unknown or missing scope: choose from {' '.join(SCOPES)}")
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
    """Permissions of the presented key.

    Raises:
        InvalidKey: the key is unknown, was revoked, or has expired.
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
    """Revoke a key immediately. Idempotent.

    Raises:
        NotFound: there is none.
    """
    session.execute(
        update(Key).where(Key.id == key_id, Key.revoked_at.is_(None)).values(revoked_at=now()),
        execution_options={"synchronize_session": False},
    )
    return _get(session, key_id)


def rotate(session: Session, secret_key: SecretKey, key_id: str, *, grace_s: float) -> tuple[Key, str]:
    """Create a key with the tenant, name, scopes and lifetime of an old one, which expires after `grace_s`.

    Raises:
        NotFound: there is no such key.
        ValueError: the old key is revoked.
    """
    old = _get(session, key_id)
    if old.revoked_at is not None:
        raise ValueError(f"key {key_id} is revoked; create a new key")
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
