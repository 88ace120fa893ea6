"""Routes that answer before a job is queued: validation, estimate, and the live workers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from api.admission import estimate, validate
from api.admission.checks import Checks, raise_first
from api.auth import Admin, ReadsJobs
from api.authenticated_route import AuthenticatedRoute
from api.examples import JOB_EXAMPLES
from api.http.problems import RESPONSES
from store import workers
from uniapl.spec.estimate import Estimate, Validation, Worker
from uniapl.spec.job import JobSpec
from uniapl.spec.resources import Page

router = APIRouter(responses=RESPONSES, route_class=AuthenticatedRoute)


@router.post("/jobs/validate", tags=["jobs"])
def validate_job(spec: Annotated[dict[str, Any], Body(openapi_examples=JOB_EXAMPLES)], caller: ReadsJobs) -> Validation:
    """List every problem of a job spec, with the checks of `POST /jobs`; nothing is queued or stored.

    The body is a spec as for `POST /jobs`. An invalid spec is a 200 too, with `valid: false`.
    """
    return validate.validate(caller, spec)


@router.post("/jobs/estimate", tags=["jobs"])
def estimate_job(spec: Annotated[JobSpec, Body(openapi_examples=JOB_EXAMPLES)], caller: ReadsJobs) -> Estimate:
    """Estimate the rows, tokens, memory and time of a job, and whether a live worker has the memory.

    Memory is computed part by part from the sizes of the models and the lengths of the rows; docs/estimate.md compares
    it with measured peaks. Nothing is queued or stored.
    """
    checks = Checks(caller, spec)
    raise_first(checks.remote())
    return estimate.estimate(caller, spec, checks.models)


@router.get("/workers", tags=["service"])
def list_workers(caller: Admin) -> Page[Worker]:
    """List the live workers, newest first, with their hardware."""
    with caller.reading() as session:
        alive = workers.alive(session, caller.service.settings.lease_s)
    return Page(data=[Worker.model_validate(row) for row in alive], has_more=False)
