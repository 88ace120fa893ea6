"""Dependencies of routes: the objects that one API process holds.

A route opens and ends its transaction itself, in one thread. A session as a dependency would be closed in another
thread of the pool; where requests that wait for its lock occupy every thread, it would never be closed.
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
    """The objects of one API process, from its start to its end."""

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
    """The service of this process. Async, since a switch to a thread would cost more than the lookup."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


After = Annotated[str | None, Query(description="Id of the last item of the previous page.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Items per page.")]
