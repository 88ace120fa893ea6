"""The API application; `python -m api` serves it."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from sqlalchemy.exc import DataError, InterfaceError, OperationalError, SQLAlchemyError, TimeoutError

from api import problems
from api.deps import Service
from api.envelope import PAGES, Envelope
from api.fleet import Fleet
from api.limits import Limits
from api.live import Live
from api.routes import checkpoints, datasets, files, fine_tuning, jobs, planning, secrets, service, uploads
from store.access import keyring as secret_key
from store.artifacts.base import ObjectsAway
from store.artifacts.paths import Artifacts
from store.broker.celery_app import Doorbell, make_celery
from store.db import make_engine
from store.model_registry import Registry
from store.settings import Settings
from uniapl import tracing

logger = logging.getLogger(__name__)
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
        live = Live(engine)
        app.state.service = Service(
            settings=settings,
            engine=engine,
            secret_key=secret_key.load(settings),
            limits=Limits(settings),
            live=live,
            fleet=Fleet(engine, settings.lease_s),
            artifacts=Artifacts.of(settings),
            registry=Registry(settings),
            doorbell=Doorbell(make_celery(settings)),
        )
        looking = asyncio.create_task(live.run())
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
    problems.install(app)
    app.add_middleware(Envelope)

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(TimeoutError)  # no connection came free
    def _database_down(_: Request, error: SQLAlchemyError) -> JSONResponse:
        logger.error("the database failed: %s", getattr(error, "orig", error))
        return problems.problem(
            503, "database_unavailable", "the database does not answer; try again", headers={"retry-after": "5"}
        )

    @app.exception_handler(DataError)
    def _cannot_be_stored(request: Request, error: DataError) -> JSONResponse:
        logger.warning("%s %s: %s", request.method, request.url.path, error.orig)
        return problems.problem(422, "invalid_request", "no text may contain NUL, and no number be beyond 64 bits")

    @app.exception_handler(ObjectsAway)
    def _bucket_away(_: Request, error: ObjectsAway) -> JSONResponse:
        logger.error("%s", error)
        return problems.problem(
            503, "storage_unavailable", "the bucket does not answer; try again", headers={"retry-after": "5"}
        )

    for module in (planning, jobs, datasets, uploads, checkpoints, secrets, fine_tuning, files, service):
        app.include_router(module.router)
    return app
