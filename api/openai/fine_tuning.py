"""/v1/fine_tuning/jobs: OpenAI's view of /jobs, for clients that people already have."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from api.admission import admit
from api.auth import Caller, ReadsJobs, WritesJobs
from api.authenticated_route import AuthenticatedRoute
from api.http.problems import RESPONSES
from api.idempotency import Once, OnceDep
from api.openai import mapping
from api.openai.mapping import FineTuningRequest, Json
from api.routes.checkpoints import to_checkpoint
from store.checkpoints import repository as checkpoints
from store.datasets import repository as datasets
from store.errors import NotFound
from store.jobs import events, lifecycle, metrics
from store.paging import newest_first
from store.tables import Job as Row
from uniapl.errors import SpecError


def _replays_show_this_view(request: Request) -> None:
    """Have `idempotency.replayed` answer with a job of this view: what is stored is one of `/jobs`."""
    request.state.view = lambda session, stored: _view(session, stored["id"]).model_dump(mode="json")


router = APIRouter(
    prefix="/v1/fine_tuning/jobs",
    tags=["OpenAI's view"],
    responses=RESPONSES,
    route_class=AuthenticatedRoute,
    dependencies=[Depends(_replays_show_this_view)],
)
JobId = Annotated[str, Path(alias="fine_tuning_job_id")]
Cursor = Annotated[str | None, Query(description="Id of the last item of the page before.")]
Number = Annotated[int, Query(ge=1, le=100, description="Items per page.")]


class FineTuningJob(BaseModel):
    """As OpenAI's API describes it, with our state, step and phase in `uniapl`."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    id: str
    """The same as at `/jobs`."""
    object: str
    """`fine_tuning.job`"""
    status: str
    """`queued`, `running`, `paused`, `succeeded`, `failed` or `cancelled`."""
    model: str
    """The student."""


class ListOf(BaseModel):
    """A page."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: str = "list"
    """`list`"""
    data: list[Json]
    """The items."""
    has_more: bool
    """Whether there are items after the last one."""


@router.post("")
def create_fine_tuning_job(
    request: FineTuningRequest, caller: WritesJobs, once: OnceDep, background: BackgroundTasks
) -> FineTuningJob:
    """Queue a job: `method.type` is `supervised` (alpha 1), `reinforcement` (alpha 0), or `uniapl` with any fields of
    a spec in `method.uniapl`."""
    with caller.reading() as session:
        try:
            rows = datasets.get(session, request.training_file).rows
        except NotFound as error:
            raise SpecError(str(error), param="training_file", hint="upload it with POST /v1/files") from None
    job = admit.admit(caller, once, mapping.to_spec(request, rows))
    background.add_task(caller.service.notifier.notify, job.id)
    with caller.reading() as session:
        return _view(session, job.id)


@router.get("")
def list_fine_tuning_jobs(request: Request, caller: ReadsJobs, after: Cursor = None, limit: Number = 20) -> ListOf:
    """Jobs, newest first; `metadata[key]=value` keeps those with this tag."""
    wanted = {
        key.removeprefix("metadata[").removesuffix("]"): value
        for key, value in request.query_params.items()
        if key.startswith("metadata[") and key.endswith("]")
    }
    tagged = [Row.spec["tags"][key].as_string() == value for key, value in wanted.items()]
    with caller.reading() as session:
        found = newest_first(session, Row, after=after, limit=limit + 1, only=tagged)
        data = [_view(session, row.id).model_dump() for row in found[:limit]]
    return ListOf(data=data, has_more=len(found) > limit)


@router.get("/{fine_tuning_job_id}")
def get_fine_tuning_job(job_id: JobId, caller: ReadsJobs) -> FineTuningJob:
    """One job."""
    with caller.reading() as session:
        return _view(session, job_id)


@router.post("/{fine_tuning_job_id}/cancel")
def cancel_fine_tuning_job(job_id: JobId, caller: WritesJobs, once: OnceDep) -> FineTuningJob:
    """Cancel a job; an active one keeps running until its trainer is gone."""
    return _change(caller, once, job_id, lifecycle.request_cancel)


@router.post("/{fine_tuning_job_id}/pause")
def pause_fine_tuning_job(job_id: JobId, caller: WritesJobs, once: OnceDep) -> FineTuningJob:
    """Pause a job; it writes a checkpoint first."""
    return _change(caller, once, job_id, lifecycle.request_pause)


@router.post("/{fine_tuning_job_id}/resume")
def resume_fine_tuning_job(
    job_id: JobId, caller: WritesJobs, once: OnceDep, background: BackgroundTasks
) -> FineTuningJob:
    """Let a paused job go on."""
    background.add_task(caller.service.notifier.notify, job_id)
    return _change(caller, once, job_id, lifecycle.request_resume)


@router.get("/{fine_tuning_job_id}/events")
def list_fine_tuning_events(job_id: JobId, caller: ReadsJobs, after: Cursor = None, limit: Number = 20) -> ListOf:
    """Events, newest first."""
    before = None if after is None else mapping.event_number(after)
    if after is not None and before is None:
        raise NotFound("event", after)
    with caller.reading() as session:
        lifecycle.get(session, job_id)
        found = events.before(session, job_id, before, limit + 1)
    return ListOf(data=[mapping.event_view(row) for row in found[:limit]], has_more=len(found) > limit)


@router.get("/{fine_tuning_job_id}/checkpoints")
def list_fine_tuning_checkpoints(job_id: JobId, caller: ReadsJobs, after: Cursor = None, limit: Number = 10) -> ListOf:
    """Checkpoints, newest first, with the metrics of their step."""
    with caller.reading() as session:
        lifecycle.get(session, job_id)
        rows = list(checkpoints.of_job(session, job_id))
        if after is not None:
            ids = [row.id for row in rows]
            if after not in ids:
                raise NotFound("checkpoint", after)
            rows = rows[ids.index(after) + 1 :]
        known = {row.step: metrics.at_step(session, job_id, row.step) for row in rows[:limit]}
    found = [to_checkpoint(row, caller.service) for row in rows[:limit]]
    data = [mapping.checkpoint_view(checkpoint, known[checkpoint.step]) for checkpoint in found if checkpoint]
    return ListOf(data=data, has_more=len(rows) > limit)


def _view(session: Session, job_id: str) -> FineTuningJob:
    row = lifecycle.get(session, job_id)
    saved = checkpoints.of_job(session, job_id)
    return FineTuningJob.model_validate(mapping.job_view(row, saved[0].id if saved else None))


def _change(caller: Caller, once: Once, job_id: str, change: Any) -> FineTuningJob:
    def effect(session: Session) -> FineTuningJob:
        change(session, job_id)
        return _view(session, job_id)

    return once.answer(caller, FineTuningJob, effect)
