"""Job state machine: each transition is one guarded UPDATE with its event in the same transaction.

The functions flush but never commit; `unit_of_work` does. `store.states` lists the transitions, `store.jobs.claims`
has the writes that keep a job's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, case, func, insert, select, update
from sqlalchemy.orm import Session

from store import backoff, states, tenants
from store.checkpoints import repository as checkpoints
from store.db import now
from store.errors import Conflict, FenceLost, NotFound
from store.jobs import events
from store.jobs.claims import Claim, keeps_sampler, require_claim
from store.states import ACTIVE, TERMINAL, State, Transition
from store.tables import Attempt, Job, Json, new_id
from uniapl.run.config import ModelSource
from uniapl.run.reports import Level
from uniapl.spec.job import SPEC_VERSION, JobSpec
from uniapl.spec.older import with_old_meaning

FRUITLESS_LIMIT = 3
"""Failed attempts in a row without a new checkpoint after which a job fails."""
INFRA_LIMIT = 20
"""Failures of the machines after which a job fails."""
USER_LIMIT = 2
"""Failures caused by the spec (out of memory, diverged) after which a job fails."""
BLAMELESS = ("disk_full",)
"""Codes of failures that the job did not cause: the wait before a retry grows, but the attempt is not fruitless."""


def create(session: Session, spec: JobSpec, models: dict[str, ModelSource]) -> Job:
    """Insert a queued job."""
    added = insert(Job).values(
        id=new_id("job"),
        tenant=tenants.tenant_of(session),
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        spec_version=SPEC_VERSION,
        models={name: source.model_dump(exclude_none=True) for name, source in models.items()},
        state=State.QUEUED,
        steps=spec.schedule.steps,
        event_seq=1,
    )
    job = session.scalars(added.returning(Job)).one()  # with what the database fills in
    events.add(session, job.id, 1, 0, f"job is {State.QUEUED}", data={"state": State.QUEUED})
    return job


def get(session: Session, job_id: str) -> Job:
    """One job.

    Raises:
        NotFound: there is none.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound("job", job_id)
    return job


def claim(
    session: Session, job_id: str, *, owner: str, host: str, boot_id: str, lease_s: float, above: int = 0
) -> Claim | None:
    """Claim a queued job; `None` when it is not claimable, which is no error.

    The new fence is greater than `above`, the highest fence on disk: a database restored from a backup may hold a lower
    one.
    """
    row = _move(
        session,
        job_id,
        states.CLAIM,
        *_claimable(),
        fence=case((Job.fence < above, above), else_=Job.fence) + 1,
        attempt=Job.attempt + 1,
        lease_owner=owner,
        lease_expires_at=now() + lease_s,
        started_at=func.coalesce(Job.started_at, now()),
        phase=None,
    )
    if row is None:
        return None
    job = get(session, job_id)
    session.refresh(job)
    session.add(Attempt(job_id=job_id, fence=job.fence, attempt=job.attempt, owner=owner, host=host, boot_id=boot_id))
    session.flush()
    spec = with_old_meaning(job.spec, job.spec_version)
    keeps = keeps_sampler(job, earlier=job.attempt - 1)
    return Claim(job_id, job.fence, job.attempt, spec, job.models, job.tenant, job.traceparent, keeps)


def begin(session: Session, claim: Claim) -> None:
    """Move to RUNNING: the trainer makes steps. Idempotent."""
    _move(session, claim.job_id, states.BEGIN, Job.fence == claim.fence)


def succeed(session: Session, claim: Claim) -> None:
    """Move to SUCCEEDED: the trainer exited with success, and the last step's checkpoint is recorded.

    Raises:
        FenceLost: another worker claimed the job, or there is no such checkpoint (`checkpoints.has_final`).
    """
    guards = (Job.fence == claim.fence, checkpoints.final_exists())
    require_claim(_move(session, claim.job_id, states.FINALIZE, *guards), claim)
    _leave(session, claim.job_id, claim.fence, states.SUCCEED, finished_at=now())


def fail(session: Session, job_id: str, fence: int, error: Json) -> None:
    """Move to FAILED. `error` is a `JobError`.

    Raises:
        FenceLost: the job has been claimed since.
    """
    message = f"job failed: {error['message']}"
    event = {"message": message, "level": "error", "data": {"error": error}}
    _leave(session, job_id, fence, states.FAIL, **event, error=error, finished_at=now())


def cancelled(session: Session, job_id: str, fence: int) -> None:
    """Move to CANCELLED, after the trainer's process group was killed.

    Raises:
        FenceLost: the job has been claimed since, or no cancellation was requested.
    """
    requested = Job.cancel_requested_at.is_not(None)
    _leave(session, job_id, fence, states.CANCEL_ACTIVE, requested, finished_at=now())


def preempt(session: Session, claim: Claim, reason: str) -> None:
    """Release the job without spending a retry: to PAUSED if only a pause was requested, otherwise to QUEUED.

    Raises:
        FenceLost: another worker claimed the job.
    """
    guards = (Job.fence == claim.fence, *_PAUSE_ALONE)
    if _move(session, claim.job_id, states.PAUSE_ACTIVE, *guards, **_RELEASED) is None:
        message = f"{reason}; the job is queued again"
        _leave(session, claim.job_id, claim.fence, states.PREEMPT, message=message, preemptions=Job.preemptions + 1)


def retry_or_fail(session: Session, job_id: str, fence: int, error: Json, backoff_s: float) -> State:
    """Schedule a retry after a failed attempt, or fail the job once a budget is spent.

    Failures of the machines and of the spec have separate budgets; both count as fruitless until a new checkpoint is
    saved.

    Args:
        error: a `JobError`; its category selects the budget.
        backoff_s: wait before the first retry; doubles with each fruitless one.

    Returns `RETRY_WAIT` or `FAILED`.

    Raises:
        FenceLost: the job has been claimed since.
    """
    job = get(session, job_id)
    session.refresh(job)
    users = error["category"] in ("user", "resource")
    column = Job.user_failures if users else Job.infra_failures
    spent = (job.user_failures if users else job.infra_failures) + 1
    blameless = error["code"] in BLAMELESS
    fruitless = job.fruitless_attempts + (not blameless)
    final = None
    if spent >= (USER_LIMIT if users else INFRA_LIMIT):
        final = {**error, "message": f"{error['message']} ({spent} attempts failed this way)"}
    elif fruitless >= FRUITLESS_LIMIT:
        what = f"{fruitless} attempts in a row made no new checkpoint; last failure: {error['message']}"
        final = {**error, "code": "no_progress", "message": what}
    if final is not None:
        fail(session, job_id, fence, final)
        return State.FAILED
    _leave(
        session,
        job_id,
        fence,
        states.RETRY,
        message=f"attempt {job.attempt} failed: {error['message']}; retrying",
        level="warning",
        data=error,
        fruitless_attempts=fruitless,
        not_before=now() + backoff.wait_s(backoff_s, spent if blameless else fruitless),
        **{column.key: spent},
    )
    return State.RETRY_WAIT


def request_cancel(session: Session, job_id: str) -> Job:
    """Cancel a waiting job at once; for an active one, record the intent for its worker.

    Raises:
        NotFound: there is no such job.
        Conflict: it has succeeded or failed.
    """
    job = _locked(session, job_id)
    if job.state in (State.SUCCEEDED, State.FAILED):
        raise Conflict("job_is_over", f"job {job_id} has {job.state}; it cannot be cancelled")
    if not job.cancel_requested:
        _intend(session, job, "cancellation requested", cancel_requested_at=now())
        _apply_intents(session, job_id)
        session.refresh(job)
    return job


def request_pause(session: Session, job_id: str) -> Job:
    """Pause a waiting job at once; for an active one, record the intent for its worker, which saves a checkpoint.

    Raises:
        NotFound: there is no such job.
        Conflict: it has ended.
    """
    job = _locked(session, job_id)
    if job.state in TERMINAL:
        raise Conflict("job_is_over", f"job {job_id} is {job.state}; it cannot be paused")
    if not job.pause_requested:
        _intend(session, job, "pause requested", pause_requested_at=now())
        _apply_intents(session, job_id)
        session.refresh(job)
    return job


def request_resume(session: Session, job_id: str) -> Job:
    """Queue a paused job again, or withdraw a pause that has not taken effect.

    Raises:
        NotFound: there is no such job.
        Conflict: it has ended.
    """
    job = _locked(session, job_id)
    if job.state in TERMINAL:
        raise Conflict("job_is_over", f"job {job_id} is {job.state}; it cannot be resumed")
    if job.state == State.PAUSED:
        _move(session, job_id, states.RESUME, pause_requested_at=None)
    elif job.pause_requested:
        _intend(session, job, "pause withdrawn", pause_requested_at=None)
    session.refresh(job)
    return job


def apply_pending_intents(session: Session) -> None:
    """Cancel and pause waiting jobs whose worker released them, or was lost, before it applied the intent."""
    requested = Job.cancel_requested_at.is_not(None) | Job.pause_requested_at.is_not(None)
    pending = select(Job.id).where(Job.state.in_(states.DUE), requested)
    for job_id in session.scalars(pending.with_for_update(skip_locked=True)).all():
        _apply_intents(session, job_id)


def expired(session: Session) -> Sequence[Row[str, int]]:
    """Active jobs whose lease has expired, with their fence; locked against a concurrent renewal."""
    overdue = select(Job.id, Job.fence).where(Job.state.in_(ACTIVE), Job.lease_expires_at < now())
    return session.execute(overdue.with_for_update(skip_locked=True)).all()


def requeue_due(session: Session) -> None:
    """Queue the retries that are due."""
    due = select(Job.id).where(Job.state == State.RETRY_WAIT, Job.not_before <= now())
    for job_id in session.scalars(due.with_for_update(skip_locked=True)).all():  # two sweepers could deadlock
        _move(session, job_id, states.REQUEUE, *_no_intents(), not_before=None)


def queued(session: Session) -> Sequence[str]:
    """Ids of the jobs that this worker can claim, oldest first."""
    waiting = select(Job.id).where(Job.state == State.QUEUED, *_claimable())
    return session.scalars(waiting.order_by(Job.created_at, Job.id)).all()


def _no_intents() -> tuple[ColumnElement[bool], ...]:
    return (Job.cancel_requested_at.is_(None), Job.pause_requested_at.is_(None))


def _claimable() -> tuple[ColumnElement[bool], ...]:
    """Conditions on a queued job; an older worker skips specs of newer versions."""
    return (*_no_intents(), Job.spec_version <= SPEC_VERSION)


def _locked(session: Session, job_id: str) -> Job:
    """A job, locked until the transaction ends, so that its worker cannot release it meanwhile."""
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise NotFound("job", job_id)
    return job


def _intend(session: Session, job: Job, message: str, **values: Any) -> None:
    """Set or clear an intent; for an active job with an event, since its transition follows later."""
    seq = session.execute(
        update(Job)
        .where(Job.id == job.id)
        .values(**values, **({"event_seq": Job.event_seq + 1} if job.state in ACTIVE else {}))
        .returning(Job.event_seq)
        .execution_options(synchronize_session=False)
    ).scalar_one()
    if job.state in ACTIVE:
        events.add(session, job.id, seq, job.fence, message, type_="message")


def _apply_intents(session: Session, job_id: str) -> None:
    """Apply the intents on a job that no worker holds; cancelling outweighs pausing."""
    requested = Job.cancel_requested_at.is_not(None)
    if _move(session, job_id, states.CANCEL_WAITING, requested, finished_at=now(), not_before=None) is None:
        _move(session, job_id, states.PAUSE_WAITING, *_PAUSE_ALONE, not_before=None)


_PAUSE_ALONE = (Job.pause_requested_at.is_not(None), Job.cancel_requested_at.is_(None))
_RELEASED: dict[str, Any] = {"phase": None, "lease_owner": None, "lease_expires_at": None}


def _leave(
    session: Session, job_id: str, fence: int, transition: Transition, *guards: ColumnElement[bool], **values: Any
) -> None:
    """A transition out of the active states, under the fence."""
    if _move(session, job_id, transition, Job.fence == fence, *guards, **_RELEASED, **values) is None:
        raise FenceLost(job_id, fence)


def _move(
    session: Session,
    job_id: str,
    transition: Transition,
    *guards: ColumnElement[bool],
    message: str | None = None,
    level: Level = "info",
    data: Json | None = None,
    **values: Any,
) -> Row[int, int] | None:
    """The guarded UPDATE of one transition, with its event; `None` when a guard failed."""
    row = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state.in_(transition.sources), *guards)
        .values(state=transition.to, event_seq=Job.event_seq + 1, **values)
        .returning(Job.event_seq, Job.fence)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is not None:
        text = message or f"job is {transition.to}"
        data = {**(data or {}), "state": transition.to}
        events.add(session, job_id, row.event_seq, row.fence, text, level=level, data=data)
    return row
