"""Routes of `/v1/fine_tuning/jobs`: jobs in the format of OpenAI's API, for its existing clients."""

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


def _replay_in_this_format(request: Request) -> None:
    """Have `idempotency.replayed` convert the stored response, which is a job of `/jobs`."""
    request.state.view = lambda session, stored: _view(session, stored["id"]).model_dump(mode="json")


router = APIRouter(
    prefix="/v1/fine_tuning/jobs",
    tags=["OpenAI-compatible"],
    responses=RESPONSES,
    route_class=AuthenticatedRoute,
    dependencies=[Depends(_replay_in_this_format)],
)
JobId = Annotated[str, Path(alias="fine_tuning_job_id")]
Cursor = Annotated[str | None, Query(description="Id of the last item of the previous page.")]
Number = Annotated[int, Query(ge=1, le=100, description="Items per page.")]


class FineTuningJob(BaseModel):
    """A fine-tuning job of OpenAI's API, with the state, step and phase of `/jobs` in `uniapl`."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    id: str
    """Id of the job."""
    object: str
    """`fine_tuning.job`"""
    status: str
    """`queued`, `running`, `paused`, `succeeded`, `failed` or `cancelled`."""
    model: str
    """The student."""


class ListOf(BaseModel):
    """One page of a list."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: str = "list"
    """`list`"""
    data: list[Json]
    """The items."""
    has_more: bool
    """Whether more items follow."""


@router.post("")
def create_fine_tuning_job(
    request: FineTuningRequest, caller: WritesJobs, once: OnceDep, background: BackgroundTasks
) -> FineTuningJob:
    """Queue a job; `method.type` is `supervised` (alpha 1), `reinforcement` (alpha 0), or `uniapl`.

    `method.uniapl` takes any fields of a spec of `POST /jobs`.
    """
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
    """List jobs, newest first; `metadata[key]=value` filters by tag."""
    wanted = {
        key.removeprefix("metadata[").removesuffix("]"): value
        for key, value in request.query_params.items()
        if key.startswith("metadata[") and key.endswith("]")
    }
    tagged = [Row.spec["tags"][key].as_string() == value for key, value in wanted.items()]
    with caller.reading() as session:
        rows = newest_first(session, Row, after=after, limit=limit + 1, only=tagged)
        data = [_view(session, row.id).model_dump() for row in rows[:limit]]
    return ListOf(data=data, has_more=len(rows) > limit)


@router.get("/{fine_tuning_job_id}")
def get_fine_tuning_job(job_id: JobId, caller: ReadsJobs) -> FineTuningJob:
    """Get one job."""
    with caller.reading() as session:
        return _view(session, job_id)


@router.post("/{fine_tuning_job_id}/cancel")
def cancel_fine_tuning_job(job_id: JobId, caller: WritesJobs, once: OnceDep) -> FineTuningJob:
    """Cancel a job; an active job runs until its trainer has exited."""
    return _change(caller, once, job_id, lifecycle.request_cancel)


@router.post("/{fine_tuning_job_id}/pause")
def pause_fine_tuning_job(job_id: JobId, caller: WritesJobs, once: OnceDep) -> FineTuningJob:
    """Pause a job after it has saved a checkpoint."""
    return _change(caller, once, job_id, lifecycle.request_pause)


@router.post("/{fine_tuning_job_id}/resume")
def resume_fine_tuning_job(
    job_id: JobId, caller: WritesJobs, once: OnceDep, background: BackgroundTasks
) -> FineTuningJob:
    """Queue a paused job again; it continues from its last checkpoint."""
    background.add_task(caller.service.notifier.notify, job_id)
    return _change(caller, once, job_id, lifecycle.request_resume)


@router.get("/{fine_tuning_job_id}/events")
def list_fine_tuning_events(job_id: JobId, caller: ReadsJobs, after: Cursor = None, limit: Number = 20) -> ListOf:
    """List events of a job, newest first."""
    before = None if after is None else mapping.event_number(after)
    if after is not None and before is None:
        raise NotFound("event", after)
    with caller.reading() as session:
        lifecycle.get(session, job_id)
        rows = events.before(session, job_id, before, limit + 1)
    return ListOf(data=[mapping.event_view(row) for row in rows[:limit]], has_more=len(rows) > limit)


@router.get("/{fine_tuning_job_id}/checkpoints")
def list_fine_tuning_checkpoints(job_id: JobId, caller: ReadsJobs, after: Cursor = None, limit: Number = 10) -> ListOf:
    """List checkpoints of a job, newest first, with the metrics of their step."""
    with caller.reading() as session:
        lifecycle.get(session, job_id)
        rows = list(checkpoints.of_job(session, job_id))
        if after is not None:
            ids = [row.id for row in rows]
            if after not in ids:
                raise NotFound("checkpoint", after)
            rows = rows[ids.index(after) + 1 :]
        known = {row.step: metrics.at_step(session, job_id, row.step) for row in rows[:limit]}
    saved = [to_checkpoint(row, caller.service) for row in rows[:limit]]
    data = [mapping.checkpoint_view(checkpoint, known[checkpoint.step]) for checkpoint in saved if checkpoint]
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
