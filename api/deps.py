"""What routes are given: settings, sessions, the doorbell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store.artifacts import Artifacts
from store.db import reading, unit_of_work
from store.doorbell import Doorbell
from store.models import Registry
from store.settings import Settings


@dataclass(frozen=True)
class Service:
    """What one API process holds for its whole life."""

    settings: Settings
    engine: Engine
    artifacts: Artifacts
    registry: Registry
    doorbell: Doorbell


def get_service(request: Request) -> Service:
    """The process's own."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


def _read_session(service: ServiceDep) -> Iterator[Session]:
    with reading(service.engine) as session:
        yield session


def _write_session(service: ServiceDep) -> Iterator[Session]:
    with unit_of_work(service.engine) as session:
        yield session


# scope="function": the transaction ends before the response leaves, so a 201 means that the row is durable
ReadSession = Annotated[Session, Depends(_read_session, scope="function")]
WriteSession = Annotated[Session, Depends(_write_session, scope="function")]

After = Annotated[str | None, Query(description="Id of the last item of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Items per page.")]
