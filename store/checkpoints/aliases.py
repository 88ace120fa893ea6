"""Aliases: names for checkpoints, changed by compare-and-set."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store import tenants
from store.checkpoints import repository as checkpoints
from store.db import insert, now
from store.errors import Conflict, NotFound
from store.tables import Alias


def promote(session: Session, name: str, checkpoint_id: str, seen: int) -> Alias:
    """Point an alias to a checkpoint. Idempotent.

    Args:
        seen: the version of the alias to replace; 0 if it should not exist yet.

    Raises:
        NotFound: there is no such checkpoint.
        Conflict: the alias was modified concurrently.
    """
    tenant = tenants.tenant_of(session)
    checkpoint = checkpoints.get(session, checkpoint_id)
    session.refresh(checkpoint, with_for_update=True)  # locked, so that it cannot be deleted meanwhile
    if checkpoint.deleted_at is not None:
        raise NotFound("checkpoint", checkpoint_id)
    if seen == 0:
        values = {"tenant": tenant, "name": name, "checkpoint_id": checkpoint_id, "version": 1, "updated_at": now()}
        session.execute(insert(session, Alias).values(values).on_conflict_do_nothing())
    else:
        session.execute(
            update(Alias)
            .where(Alias.tenant == tenant, Alias.name == name, Alias.version == seen)
            .where(Alias.checkpoint_id != checkpoint_id)
            .values(checkpoint_id=checkpoint_id, version=seen + 1, updated_at=now())
        )
    alias = session.get(Alias, (tenant, name), populate_existing=True)
    if alias is None or alias.checkpoint_id != checkpoint_id:
        found = "does not exist" if alias is None else f"is at version {alias.version}"
        raise Conflict(
            "alias_has_changed",
            f"alias {name!r} {found}, not at version {seen}; fetch it and retry with its current version",
        )
    return alias


def get(session: Session, name: str) -> Alias:
    """One alias.

    Raises:
        NotFound: there is none.
    """
    alias = session.get(Alias, (tenants.tenant_of(session), name))
    if alias is None:
        raise NotFound("alias", name)
    return alias


def all_of(session: Session) -> Sequence[Alias]:
    """Every alias, by name."""
    return session.scalars(select(Alias).order_by(Alias.name)).all()
