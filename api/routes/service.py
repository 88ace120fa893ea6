"""Routes of the service itself: models, metrics, health."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from api.auth import ReadsJobs, ReadsMetrics
from api.authenticated_route import AuthenticatedRoute
from api.deps import ServiceDep
from api.http.problems import RESPONSES, Problem, problem
from api.metrics import exposition
from store import migrate
from store.db import reading
from store.jobs import stats
from uniapl.spec.resources import Model, Page

GUIDE = Path(__file__).parents[2] / "docs" / "bring-your-data.md"
"""Commands for common datasets, mappings, and reasons of refusals."""
router = APIRouter(tags=["service"], route_class=AuthenticatedRoute)


@router.get("/models", responses=RESPONSES)
def list_models(caller: ReadsJobs) -> Page[Model]:
    """List the registered models. Where a model hub is reachable, a spec may name hub ids too."""
    models = [
        Model(id=name, kind=kind, source=f"{source.hub}@{source.revision or 'main'}" if source.hub else "local")
        for name, kind, source in caller.service.registry.list()
    ]
    return Page(data=models, has_more=False)


@router.get("/metrics", responses=RESPONSES, response_class=PlainTextResponse)
def get_service_metrics(service: ReadsMetrics) -> PlainTextResponse:
    """Get metrics for Prometheus: jobs by state, leases, attempts by outcome, requests by route, of all tenants.

    Requires a key with the scope `admin`, or the token that the operator has configured for it.
    """
    with reading(service.engine) as session:
        service_stats = stats.read(session)
    return PlainTextResponse(exposition(service_stats, service.artifacts.root), media_type=CONTENT_TYPE_LATEST)


@router.get("/healthz")
def get_health() -> dict[str, str]:
    """Check that the process is alive."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": Problem, "description": "A dependency is missing"}})
def get_readiness(service: ServiceDep) -> Any:
    """Check that the database answers and has this release's tables, and that the data folder is writable.

    A database migrated by a newer release is accepted, since upgrades only add tables and columns. The broker is not
    checked: it only makes jobs start sooner.
    """
    with reading(service.engine) as session:
        state = migrate.state(session.connection())
    if state in ("empty", "behind"):
        return problem(503, "database_not_migrated", "the database lacks migrations; run `uniapl admin db upgrade`")
    if not os.access(service.artifacts.root, os.W_OK):
        return problem(503, "data_folder_not_writable", "the data folder is not writable", headers={"retry-after": "5"})
    return JSONResponse({"status": "ok"})


@router.get("/docs/bring-your-data", include_in_schema=False)
def get_guide() -> PlainTextResponse:
    """Get the guide to datasets as text."""
    return PlainTextResponse(GUIDE.read_text(encoding="utf-8"))
