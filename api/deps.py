"""What routes are given: settings, the database, the job notifier.

A route opens and ends its transaction itself, in one thread. As a dependency, a session would be closed in whatever
thread is free next; when requests that wait for a lock or a connection have taken them all, its holder never gets one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query, Request
from sqlalchemy import Engine

from api.event_feed import EventFeed
from api.http.rate_limits import Limits
from api.worker_cache import WorkerCache
from store.access.keyring import SecretKey
from store.artifacts.paths import Artifacts
from store.broker.celery_app import JobNotifier
from store.model_registry import Registry
from store.settings import Settings


@dataclass(frozen=True)
class Service:
    """What one API process holds for its whole life."""

    settings: Settings
    engine: Engine
    secret_key: SecretKey
    limits: Limits
    event_feed: EventFeed
    worker_cache: WorkerCache
    artifacts: Artifacts
    registry: Registry
    notifier: JobNotifier


async def get_service(request: Request) -> Service:
    """The process's own. Not for a thread of its own: there and back costs more than what is done."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


After = Annotated[str | None, Query(description="Id of the last item of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Items per page.")]
