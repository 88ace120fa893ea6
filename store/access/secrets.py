"""Secrets: credentials for servers that jobs use, encrypted with the service's key; only workers decrypt them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import tenants
from store.access.keyring import SecretKey
from store.db import insert, now
from store.errors import Conflict, NotFound
from store.states import TERMINAL
from store.stored_specs import names_secret
from store.tables import Job, Secret


class SecretUnusable(Exception):
    """A secret cannot be decrypted; the message states the reason."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"secret {name!r} cannot be decrypted: {why}")
        self.name = name


def put(session: Session, key: SecretKey, name: str, value: str) -> Secret:
    """Store a value under a name, replacing an earlier one; attempts that start later use it."""
    tenant = tenants.tenant_of(session)
    changed = {"sealed": key.seal(json.dumps([tenant, name, value])), "updated_at": now()}
    row = insert(session, Secret).values(tenant=tenant, name=name, **changed)
    session.execute(row.on_conflict_do_update(index_elements=["tenant", "name"], set_=changed))
    return session.get_one(Secret, (tenant, name), populate_existing=True)


def all_of(session: Session) -> Sequence[Secret]:
    """Every secret, by name."""
    return session.scalars(select(Secret).order_by(Secret.name)).all()


def need(session: Session, name: str) -> None:
    """Protect a secret from deletion until the transaction ends, which may create a job that uses it.

    Raises:
        NotFound: there is none.
    """
    lock = {"read": True, "key_share": True}
    if session.get(Secret, (tenants.tenant_of(session), name), with_for_update=lock) is None:
        raise NotFound("secret", name)


def delete(session: Session, name: str) -> None:
    """Delete a secret.

    Raises:
        NotFound: there is none.
        Conflict: an unfinished job names it.
    """
    row = session.get(Secret, (tenants.tenant_of(session), name), with_for_update=True)
    if row is None:
        raise NotFound("secret", name)
    open_jobs = select(Job.id, Job.spec).where(Job.tenant == row.tenant, Job.state.not_in(TERMINAL))
    for job_id, spec in session.execute(open_jobs):
        if names_secret(spec, name):
            message = (
                f"job {job_id} still needs secret {name!r}; cancel the job, wait for its end, or replace the value"
            )
            raise Conflict("secret_in_use", message)
    session.delete(row)


def value(session: Session, key: SecretKey, tenant: str, name: str) -> str:
    """The decrypted value, for a trainer.

    Raises:
        SecretUnusable: the secret does not exist, or was encrypted for another name or with another key.
    """
    row = session.get(Secret, (tenant, name))
    if row is None:
        raise SecretUnusable(name, "it was deleted")
    try:
        place_and_value = json.loads(key.open(row.sealed))
    except ValueError as error:
        raise SecretUnusable(name, str(error)) from None
    if place_and_value[:2] != [tenant, name]:
        raise SecretUnusable(name, "it was stored under another name")
    return str(place_and_value[2])
