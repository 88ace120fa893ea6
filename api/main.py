"""The API application; `python -m api` serves it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from sqlalchemy import Engine

from api import error_handlers
from api.deps import Service
from api.event_feed import EventFeed
from api.http.middleware import PAGES, RequestMiddleware
from api.http.rate_limits import Limits
from api.openai import files, fine_tuning
from api.openapi_document import DESCRIPTION, TAGS, operation_id, use_sdk_names
from api.routes import checkpoints, datasets, estimates, jobs, secrets, service, uploads
from api.worker_cache import WorkerCache
from store.access import keyring
from store.artifacts.paths import Artifacts
from store.broker.celery_app import JobNotifier, make_celery
from store.db import make_engine
from store.model_registry import Registry
from store.settings import Settings
from uniapl import tracing

ROUTERS = (estimates, jobs, datasets, uploads, checkpoints, secrets, fine_tuning, files, service)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application; settings come from the environment by default."""
    app = FastAPIOffline(
        title="UniAPL",
        version=version("uniapl"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        generate_unique_id_function=operation_id,
        separate_input_output_schemas=False,
        lifespan=partial(_lifespan, settings or Settings()),
        static_url=f"{PAGES[0]}/assets",
    )
    use_sdk_names(app)
    error_handlers.install(app)
    app.add_middleware(RequestMiddleware)
    for module in ROUTERS:
        app.include_router(module.router)
    return app


@asynccontextmanager
async def _lifespan(settings: Settings, app: FastAPI) -> AsyncIterator[None]:
    """Open what the process holds, poll for events while it serves, and close everything."""
    tracing.start("uniapl-api")
    engine = make_engine(settings.database)
    app.state.service = service = _open(settings, engine)
    polling = asyncio.create_task(service.event_feed.run())
    gc.collect()
    gc.freeze()  # a full collection would traverse what stays loaded while every request waits
    yield
    polling.cancel()
    engine.dispose()


def _open(settings: Settings, engine: Engine) -> Service:
    return Service(
        settings=settings,
        engine=engine,
        secret_key=keyring.load(settings),
        limits=Limits(settings),
        event_feed=EventFeed(engine),
        worker_cache=WorkerCache(engine, settings.lease_s),
        artifacts=Artifacts.of(settings),
        registry=Registry(settings),
        notifier=JobNotifier(make_celery(settings)),
    )
