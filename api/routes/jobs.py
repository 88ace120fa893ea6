"""Routes of `/jobs`: create, list, follow, cancel, pause, resume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Body, Header, Query, Request, Response
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session

from api import sse
from api.admission import admit
from api.auth import Caller, ReadsJobs, WritesJobs
from api.authenticated_route import AuthenticatedRoute
from api.deps import After, Limit, Service
from api.event_feed import to_event
from api.examples import JOB_EXAMPLES
from api.http import file_response
from api.http.problems import RESPONSES, Problem
from api.idempotency import Once, OnceDep
from api.routes.checkpoints import to_checkpoint
from store.checkpoints import repository as checkpoints
from store.errors import Gone, NotFound
from store.jobs import claims, events, forecast, lifecycle, metrics
from store.paging import newest_first
from store.states import TERMINAL
from store.tables import Job as Row
from uniapl.spec.job import JobSpec
from uniapl.spec.older import with_old_meaning
from uniapl.spec.resources import Checkpoint, Job, JobEvent, MetricPoint, Page, Sample
from uniapl.spec.stored import STORED_SPEC

MAX = 2**31 - 1
router = APIRouter(prefix="/jobs", tags=["jobs"], responses=RESPONSES, route_class=AuthenticatedRoute)


@router.post("", status_code=201)
def create_job(
    spec: Annotated[JobSpec, Body(openapi_examples=JOB_EXAMPLES)],
    caller: WritesJobs,
    once: OnceDep,
    background: BackgroundTasks,
    response: Response,
) -> Job:
    """Queue a training job.

    The spec is checked against the datasets and models that it names; an invalid spec queues nothing. The response has
    the spec with every default filled in, as it is stored beside each checkpoint.
    """
    job = admit.admit(caller, once, spec)
    background.add_task(caller.service.notifier.notify, job.id)  # runs after the commit
    response.headers["location"] = f"/jobs/{job.id}"
    return job


@router.get("")
def list_jobs(caller: ReadsJobs, after: After = None, limit: Limit = 20) -> Page[Job]:
    """List jobs, newest first."""
    with caller.reading() as session:
        rows = newest_first(session, Row, after=after, limit=limit + 1)
        return Page(data=to_jobs(session, rows[:limit], caller.service), has_more=len(rows) > limit)


@router.get("/{job_id}")
def get_job(job_id: str, caller: ReadsJobs) -> Job:
    """Get one job."""
    with caller.reading() as session:
        return to_job(session, lifecycle.get(session, job_id), caller.service)


@router.post("/{job_id}/cancel")
def cancel_job(job_id: str, caller: WritesJobs, once: OnceDep) -> Job:
    """Cancel a job.

    A waiting job is cancelled immediately. An active job has `cancel_requested` until its trainer has exited, then it
    becomes `cancelled`. Checkpoints are kept. The request is idempotent; a job that succeeded or failed is a 409.
    """
    return _change(caller, once, job_id, lifecycle.request_cancel)


@router.post("/{job_id}/pause")
def pause_job(job_id: str, caller: WritesJobs, once: OnceDep) -> Job:
    """Pause a job, which frees its slot for another.

    A waiting job is paused immediately. An active job has `pause_requested` until the checkpoint of its last finished
    step is saved; the step in progress is discarded. The request is idempotent; a job that has ended is a 409.
    """
    return _change(caller, once, job_id, lifecycle.request_pause)


@router.post("/{job_id}/resume")
def resume_job(job_id: str, caller: WritesJobs, once: OnceDep, background: BackgroundTasks) -> Job:
    """Queue a paused job again; it continues from its last checkpoint.

    A pending `pause_requested` is withdrawn; if the trainer is already stopping, the job is queued again after its
    checkpoint is saved. Resuming a job that is not paused changes nothing; a job that has ended is a 409.
    """
    job = _change(caller, once, job_id, lifecycle.request_resume)
    background.add_task(caller.service.notifier.notify, job_id)  # runs after the commit
    return job


@router.get(
    "/{job_id}/events",
    response_model=Page[JobEvent],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
def list_events(
    job_id: str,
    request: Request,
    caller: ReadsJobs,
    after: Annotated[int, Query(ge=0, le=MAX, description="Only events with a higher number.")] = 0,
    limit: Limit = 100,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=MAX, description="Sent by SSE clients on reconnect; overrides `after`.")
    ] = None,
) -> Any:
    """List events of a job, oldest first, as JSON; or stream them where `Accept` is `text/event-stream`.

    The stream replays the events after `Last-Event-ID` (or `after`), continues live, and closes with an `end` event
    once the job has ended. A cursor beyond the newest event gets a `reset` event and every event from the first.
    """
    streamed = "text/event-stream" in request.headers.get("accept", "")
    with caller.reading() as session:
        newest = lifecycle.get(session, job_id).event_seq
        rows = [] if streamed else events.after(session, job_id, after, limit + 1)
    if streamed:
        seen = last_event_id if last_event_id is not None else after
        limits = caller.service.limits
        limits.begin("streams", caller.tenant)
        lines = sse.follow(caller, job_id, newest, seen)
        return sse.EventStream(lines, ended=lambda: limits.end("streams", caller.tenant))
    return Page(data=[to_event(row) for row in rows[:limit]], has_more=len(rows) > limit)


@router.get("/{job_id}/metrics")
def list_metrics(
    job_id: str,
    caller: ReadsJobs,
    names: Annotated[str | None, Query(description="Comma-separated metric names; all by default.")] = None,
    since_step: Annotated[int, Query(ge=-1, le=MAX, description="Only points after this step.")] = -1,
    limit: Annotated[int, Query(ge=1, le=100_000, description="Points per page.")] = 10_000,
    max_points: Annotated[
        int | None, Query(ge=1, le=10_000, description="Points per name after downsampling; one page.")
    ] = None,
) -> Page[MetricPoint]:
    """List metrics by step and name: TRL's names where TRL has one, others under `uniapl/`, `disc/` and `eval/`.

    A page ends with a complete step; pass its last step as `since_step` to get the next page. With `max_points` the
    response is one page: each longer series is divided into that many ranges of steps, and a range is represented by
    its mean at its last step.
    """
    wanted = names.split(",") if names else None
    with caller.reading() as session:
        lifecycle.get(session, job_id)
        if max_points is not None:
            few = metrics.thinned(session, job_id, names=wanted, since_step=since_step, max_points=max_points)
            return Page(data=[MetricPoint.model_validate(m) for m in few], has_more=False)
        points = metrics.metrics(session, job_id, names=wanted, since_step=since_step, limit=limit + 1)
    page = points[:limit]
    if len(points) > limit:
        page = [m for m in page if m.step < points[limit].step] or page
    return Page(data=[MetricPoint.model_validate(m) for m in page], has_more=len(points) > limit)


@router.get("/{job_id}/samples")
def list_samples(
    job_id: str,
    caller: ReadsJobs,
    step: Annotated[int | None, Query(ge=0, le=MAX, description="Only samples of this step.")] = None,
) -> Page[Sample]:
    """List held-out completions of every evaluation, with the teacher's answers."""
    with caller.reading() as session:
        lifecycle.get(session, job_id)
        rows = metrics.samples(session, job_id, step=step)
    return Page(data=[Sample.model_validate(sample) for sample in rows], has_more=False)


@router.get(
    "/{job_id}/logs",
    response_class=FileResponse,
    responses={
        206: {"description": "The requested `Range`"},
        410: {"model": Problem, "description": "The log was deleted"},
        416: {"description": "`Range` begins after the last byte"},
    },
)
def get_log(
    job_id: str,
    request: Request,
    caller: ReadsJobs,
    attempt: Annotated[
        int | None, Query(ge=1, le=MAX, description="Number of the attempt; the newest by default.")
    ] = None,
) -> Response:
    """Download the log of an attempt's trainer as text; `Range` requests follow it while it grows.

    Where artifacts are stored in a bucket, the log is uploaded with each checkpoint and at the end of the attempt.
    """
    with caller.reading() as session:
        job = lifecycle.get(session, job_id)
        fence = claims.fence_of(session, job_id, attempt)
    artifacts = caller.service.artifacts
    name = artifacts.relative(artifacts.log(job_id, fence))
    file = file_response.answer(request, artifacts, name, media_type="text/plain; charset=utf-8")
    if file is not None:
        return file
    if job.state in TERMINAL:
        raise Gone("log_gone", f"the log of attempt {attempt or job.attempt} was deleted")
    raise NotFound("log", job_id)


@router.get("/{job_id}/checkpoints")
def list_checkpoints(job_id: str, caller: ReadsJobs) -> Page[Checkpoint]:
    """List checkpoints of a job, newest first."""
    with caller.reading() as session:
        lifecycle.get(session, job_id)
        rows = checkpoints.of_job(session, job_id)
    saved = (to_checkpoint(row, caller.service) for row in rows)
    return Page(data=[checkpoint for checkpoint in saved if checkpoint is not None], has_more=False)


def _change(caller: Caller, once: Once, job_id: str, change: Callable[[Session, str], Row]) -> Job:
    return once.answer(caller, Job, lambda session: _job(change(session, job_id)))


def _job(row: Row) -> Job:
    spec = STORED_SPEC.validate_python(with_old_meaning(row.spec, row.spec_version))
    return Job.model_validate(row).model_copy(update={"spec": spec})


def to_jobs(session: Session, rows: Sequence[Row], service: Service) -> list[Job]:
    """The jobs of some rows, in the same order, with their place in the queue and their ETA."""
    jobs = {row.id: _job(row) for row in rows}
    specs = {row.id: (row, jobs[row.id].spec) for row in rows}
    expected = forecast.forecast_jobs(session, specs, service.settings.lease_s)
    return [jobs[row.id].model_copy(update=asdict(expected[row.id])) for row in rows]


def to_job(session: Session, row: Row, service: Service) -> Job:
    """The job of one row."""
    [job] = to_jobs(session, [row], service)
    return job
