"""Tenant isolation: a session bound to a tenant adds the tenant to every query, so that no route can omit it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from store.tables import Alias, Checkpoint, Dataset, IdempotentResponse, Job, Secret, Upload

OWNED = (Job, Dataset, Alias, IdempotentResponse, Secret, Upload)
"""Tables that name their tenant. Events, metrics, samples and attempts are reached through their job."""
DEFAULT = "default"
"""The only tenant until keys for other tenants are created."""


def tenant_of(session: Session) -> str:
    """Tenant of the rows that the session adds."""
    return str(session.info.get("tenant") or DEFAULT)


@event.listens_for(Session, "do_orm_execute")
def _keep_to_tenant(state: ORMExecuteState) -> None:
    tenant = state.session.info.get("tenant")
    if (
        tenant is None or state.is_column_load or not state.is_orm_statement
    ):  # loader criteria do not apply to plain tables
        return
    state.statement = state.statement.options(*_criteria(tenant))


@lru_cache(maxsize=1024)
def _criteria(tenant: str) -> tuple[Any, ...]:
    """Cached per tenant: building them for every statement took an eighth of a request."""
    jobs = select(Job.__table__.c.id).where(Job.__table__.c.tenant == tenant)
    return (
        *(with_loader_criteria(table, table.tenant == tenant) for table in OWNED),
        with_loader_criteria(Checkpoint, Checkpoint.job_id.in_(jobs)),
    )
