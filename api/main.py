"""The API application; `python -m api` serves it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from api import error_handlers
from api.deps import Service
from api.event_feed import EventFeed
from api.http.middleware import PAGES, RequestMiddleware
from api.http.rate_limits import Limits
from api.openai import files, fine_tuning
from api.routes import checkpoints, datasets, estimates, jobs, secrets, service, uploads
from api.worker_cache import WorkerCache
from store.access import keyring
from store.artifacts.paths import Artifacts
from store.broker.celery_app import JobNotifier, make_celery
from store.db import make_engine
from store.model_registry import Registry
from store.settings import Settings
from uniapl import tracing

DESCRIPTION = """
Post-train language models with Unified Adversarial Preference Learning: every step mixes teacher demonstrations and
on-policy rollouts in one gradient, `L = alpha·L_SFT + (1 - alpha)·L_GRPO + lambda_adv·L_ADV`.

Upload a dataset, `POST /jobs` with a spec, follow `/jobs/{id}/events`, take the files of a checkpoint. Errors are
`application/problem+json` with OpenAI's `error` member inside.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application; settings come from the environment by default."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tracing.start("uniapl-api")
        engine = make_engine(settings.database)
        event_feed = EventFeed(engine)
        app.state.service = Service(
            settings=settings,
            engine=engine,
            secret_key=keyring.load(settings),
            limits=Limits(settings),
            event_feed=event_feed,
            worker_cache=WorkerCache(engine, settings.lease_s),
            artifacts=Artifacts.of(settings),
            registry=Registry(settings),
            notifier=JobNotifier(make_celery(settings)),
        )
        looking = asyncio.create_task(event_feed.run())
        gc.collect()
        gc.freeze()  # what is loaded stays: a full collection would look through it with every request waiting
        yield
        looking.cancel()
        engine.dispose()

    app = FastAPIOffline(
        title="UniAPL",
        version=version("uniapl"),
        description=DESCRIPTION,
        lifespan=lifespan,
        static_url=f"{PAGES[0]}/assets",
    )
    error_handlers.install(app)
    app.add_middleware(RequestMiddleware)

    for module in (estimates, jobs, datasets, uploads, checkpoints, secrets, fine_tuning, files, service):
        app.include_router(module.router)
    return app
