"""Whose rows a session may see: a bound session adds its tenant to every query, so that no route can forget it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from store.tables import Alias, Checkpoint, Dataset, IdempotentResponse, Job, Secret, Upload

OWNED = (Job, Dataset, Alias, IdempotentResponse, Secret, Upload)
"""Tables that name their tenant. Events, metrics, samples and attempts are reached through their job."""
DEFAULT = "default"
"""Whose everything is where nobody has made keys for others."""


def of(session: Session) -> str:
    """Whose the rows are that the session adds."""
    return str(session.info.get("tenant") or DEFAULT)


@event.listens_for(Session, "do_orm_execute")
def _keep_to_tenant(state: ORMExecuteState) -> None:
    tenant = state.session.info.get("tenant")
    if tenant is None or state.is_column_load or not state.is_orm_statement:  # of tables, criteria do not hold
        return
    state.statement = state.statement.options(*_criteria(tenant))


@lru_cache(maxsize=1024)
def _criteria(tenant: str) -> tuple[Any, ...]:
    """Made once for each tenant: to make them for every statement cost an eighth of a request."""
    jobs = select(Job.__table__.c.id).where(Job.__table__.c.tenant == tenant)
    return (
        *(with_loader_criteria(table, table.tenant == tenant) for table in OWNED),
        with_loader_criteria(Checkpoint, Checkpoint.job_id.in_(jobs)),
    )
