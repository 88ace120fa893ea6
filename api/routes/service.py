"""/models, and whether the service is well."""

from __future__ import annotations

import os
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

router = APIRouter(tags=["service"], route_class=AuthenticatedRoute)


@router.get("/models", responses=RESPONSES)
def list_models(caller: ReadsJobs) -> Page[Model]:
    """Models that a spec may name. Where a model hub is reachable, hub ids work as they are too."""
    found = [
        Model(id=name, kind=kind, source=f"{source.hub}@{source.revision or 'main'}" if source.hub else "local")
        for name, kind, source in caller.service.registry.list()
    ]
    return Page(data=found, has_more=False)


@router.get("/metrics", responses=RESPONSES, response_class=PlainTextResponse)
def metrics(service: ReadsMetrics) -> PlainTextResponse:
    """Jobs of all tenants by state, leases, attempts by how they ended, requests by route, for Prometheus.

    Opened by a key with the scope `admin`, or by the token that the operator has set up for it.
    """
    with reading(service.engine) as session:
        found = stats.read(session)
    return PlainTextResponse(exposition(found, service.artifacts.root), media_type=CONTENT_TYPE_LATEST)


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Whether the process lives."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": Problem, "description": "Something it needs is missing"}})
def readyz(service: ServiceDep) -> Any:
    """Whether it can do its work: the database answers and has this code's tables, and the data folder can be
    written. A database that newer code has migrated will do: upgrades only add, until the old code is gone.

    The broker is not asked: it only makes starts faster, and jobs are accepted and started without it.
    """
    with reading(service.engine) as session:
        state = migrate.state(session.connection())
    if state in ("empty", "behind"):
        return problem(503, "database_not_migrated", "the database lacks migrations; run `uniapl admin db upgrade`")
    if not os.access(service.artifacts.root, os.W_OK):
        return problem(
            503, "data_folder_not_writable", "the data folder cannot be written", headers={"retry-after": "5"}
        )
    return JSONResponse({"status": "ok"})
