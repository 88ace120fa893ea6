"""Jobs: every change of state is one guarded UPDATE with its event in the same transaction.

A *holder* is a worker that has claimed a job; its writes name the fence it was given, and change nothing once another
claim has raised it. The functions flush but never commit: `unit_of_work` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, func, select, update
from sqlalchemy.orm import Session

from store import checkpoints, events, states
from store.db import now
from store.errors import Conflict, FenceLost, NotFound
from store.states import ACTIVE, State, Transition
from store.tables import Attempt, Job, Json, new_id
from uniapl.spec.job import SPEC_VERSION, JobSpec
from uniapl.spec.report import Level
from uniapl.spec.run import ModelSource

T = TypeVar("T")
FRUITLESS_LIMIT = 3
"""So many failed attempts without a new checkpoint, and the job fails."""


@dataclass(frozen=True)
class Hold:
    """A claim that was granted."""

    job_id: str
    fence: int
    attempt: int
    spec: JobSpec
    models: dict[str, ModelSource]


def create(session: Session, spec: JobSpec, models: dict[str, ModelSource]) -> Job:
    """Insert a queued job."""
    job = Job(
        id=new_id("job"),
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        spec_version=SPEC_VERSION,
        models={name: source.model_dump(exclude_none=True) for name, source in models.items()},
        state=State.QUEUED,
        steps=spec.schedule.steps,
        event_seq=1,
    )
    session.add(job)
    session.flush()
    events.add(session, job.id, 1, 0, f"job is {State.QUEUED}", data={"state": State.QUEUED})
    session.refresh(job)
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


def claim(session: Session, job_id: str, *, owner: str, host: str, boot_id: str, lease_s: float) -> Hold | None:
    """Take a queued job; `None` when it is not there to be taken, which is no error."""
    row = _move(
        session,
        job_id,
        states.CLAIM,
        *_claimable(),
        fence=Job.fence + 1,
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
    return Hold(
        job_id,
        job.fence,
        job.attempt,
        JobSpec.model_validate(job.spec),
        {name: ModelSource.model_validate(source) for name, source in job.models.items()},
    )


def renew(session: Session, hold: Hold, lease_s: float) -> None:
    """Extend the lease.

    Raises:
        FenceLost: the job is no longer this holder's.
    """
    _write(session, hold, lease_expires_at=now() + lease_s)


def cancel_requested(session: Session, job_id: str) -> bool:
    """Whether the job's owner wants it to end."""
    return session.scalar(select(Job.cancel_requested_at).where(Job.id == job_id)) is not None


def touch(session: Session, hold: Hold, **values: Any) -> None:
    """Set columns of a held job (`step`, `phase`, `fruitless_attempts`), or just prove that it is still held.

    Raises:
        FenceLost: the job is no longer this holder's.
    """
    _write(session, hold, **values)


def say(session: Session, hold: Hold, message: str, *, level: Level = "info", data: Json | None = None) -> None:
    """Add an event of the trainer.

    Raises:
        FenceLost: the job is no longer this holder's.
    """
    seq = _write(session, hold, event_seq=Job.event_seq + 1).event_seq
    events.add(session, hold.job_id, seq, hold.fence, message, level=level, type_="message", data=data)


def begin(session: Session, hold: Hold) -> None:
    """The trainer makes steps now. Saying so twice is harmless."""
    _move(session, hold.job_id, states.BEGIN, Job.fence == hold.fence)


def succeed(session: Session, hold: Hold) -> None:
    """The trainer has ended well, and the last step's checkpoint is recorded.

    Raises:
        FenceLost: the job is no longer this holder's, or there is no such checkpoint (`checkpoints.has_final`).
    """
    guards = (Job.fence == hold.fence, checkpoints.final_exists())
    _held(_move(session, hold.job_id, states.FINALIZE, *guards), hold)
    _end(session, hold.job_id, hold.fence, states.SUCCEED)


def fail(session: Session, job_id: str, fence: int, error: Json) -> None:
    """The job cannot go on. `error` is a `JobError`.

    Raises:
        FenceLost: the job has been claimed since.
    """
    _end(session, job_id, fence, states.FAIL, message=f"job failed: {error['message']}", level="error", error=error)


def cancelled(session: Session, job_id: str, fence: int) -> None:
    """The trainer's group is dead, as the owner asked.

    Raises:
        FenceLost: the job has been claimed since.
    """
    _end(session, job_id, fence, states.CANCEL_ACTIVE)


def preempt(session: Session, hold: Hold, reason: str) -> None:
    """Give the job back, saying why. Spends no retry.

    Raises:
        FenceLost: the job is no longer this holder's.
    """
    row = _move(
        session,
        hold.job_id,
        states.PREEMPT,
        Job.fence == hold.fence,
        message=f"{reason}; the job is queued again",
        lease_owner=None,
        lease_expires_at=None,
        phase=None,
    )
    _held(row, hold)


def retry_or_fail(session: Session, job_id: str, fence: int, error: Json, backoff_s: float) -> State:
    """An attempt failed for a reason that may pass: wait and try again, unless that has led nowhere too often.

    Returns:
        `RETRY_WAIT` or `FAILED`.

    Raises:
        FenceLost: the job has been claimed since.
    """
    job = get(session, job_id)
    session.refresh(job)
    fruitless = job.fruitless_attempts + 1
    if fruitless >= FRUITLESS_LIMIT:
        what = f"{fruitless} attempts in a row made no new checkpoint; the last one: {error['message']}"
        fail(session, job_id, fence, {**error, "code": "no_progress", "message": what})
        return State.FAILED
    row = _move(
        session,
        job_id,
        states.RETRY,
        Job.fence == fence,
        message=f"attempt {job.attempt} failed: {error['message']}; another follows",
        level="warning",
        data=error,
        fruitless_attempts=fruitless,
        not_before=now() + backoff_s * 2 ** (fruitless - 1),
        lease_owner=None,
        lease_expires_at=None,
        phase=None,
    )
    if row is None:
        raise FenceLost(job_id, fence)
    return State.RETRY_WAIT


def request_cancel(session: Session, job_id: str) -> Job:
    """Cancel a waiting job at once, or ask the holder of an active one to.

    Raises:
        NotFound: there is no such job.
        Conflict: it has succeeded or failed.
    """
    job = session.get(Job, job_id, with_for_update=True)  # the holder may be giving it back just now
    if job is None:
        raise NotFound("job", job_id)
    if not _cancel_waiting(session, job_id):
        asked = session.execute(
            update(Job)
            .where(Job.id == job_id, Job.state.in_(ACTIVE), Job.cancel_requested_at.is_(None))
            .values(cancel_requested_at=now(), event_seq=Job.event_seq + 1)
            .returning(Job.event_seq, Job.fence)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        if asked is not None:
            events.add(session, job_id, asked.event_seq, asked.fence, "cancellation requested", type_="message")
    session.refresh(job)
    if job.state in (State.SUCCEEDED, State.FAILED):
        raise Conflict("job_is_over", f"job {job_id} has {job.state}; it cannot be cancelled")
    return job


def cancel_given_back(session: Session) -> None:
    """Cancel the jobs whose holder gave them back before it saw that they should be."""
    asked = select(Job.id).where(Job.state.in_(states.WAITING), Job.cancel_requested_at.is_not(None))
    for job_id in session.scalars(asked).all():
        _cancel_waiting(session, job_id)


def _cancel_waiting(session: Session, job_id: str) -> bool:
    row = _move(
        session,
        job_id,
        states.CANCEL_WAITING,
        cancel_requested_at=func.coalesce(Job.cancel_requested_at, now()),
        finished_at=now(),
        not_before=None,
    )
    return row is not None


def expired(session: Session) -> Sequence[Row[str, int]]:
    """Active jobs whose lease has run out, with the fence of the lost holder.

    The rows stay locked until the transaction ends, so that a holder cannot renew between the look and the reaping.
    """
    silent = select(Job.id, Job.fence).where(Job.state.in_(ACTIVE), Job.lease_expires_at < now())
    return session.execute(silent.with_for_update(skip_locked=True)).all()


def end_attempt(session: Session, job_id: str, fence: int, exit_kind: str) -> None:
    """Note how an attempt ended."""
    session.execute(
        update(Attempt)
        .where(Attempt.job_id == job_id, Attempt.fence == fence)
        .values(ended_at=now(), exit_kind=exit_kind)
    )


def requeue_due(session: Session) -> None:
    """Queue the retries whose time has come."""
    due = session.scalars(select(Job.id).where(Job.state == State.RETRY_WAIT, Job.not_before <= now())).all()
    for job_id in due:
        _move(session, job_id, states.REQUEUE, not_before=None)


def queued(session: Session) -> Sequence[str]:
    """Ids of the jobs that wait for a worker like this one, oldest first."""
    waiting = select(Job.id).where(Job.state == State.QUEUED, *_claimable())
    return session.scalars(waiting.order_by(Job.created_at)).all()


def _claimable() -> tuple[ColumnElement[bool], ...]:
    """What a queued job must satisfy; an older worker leaves specs that it does not know."""
    return (Job.cancel_requested_at.is_(None), Job.spec_version <= SPEC_VERSION)


def _end(
    session: Session,
    job_id: str,
    fence: int,
    transition: Transition,
    *,
    message: str | None = None,
    level: Level = "info",
    error: Json | None = None,
) -> None:
    """A holder's step into a terminal state."""
    row = _move(
        session,
        job_id,
        transition,
        Job.fence == fence,
        message=message,
        level=level,
        data={"error": error} if error else None,
        error=error,
        phase=None,
        finished_at=now(),
        lease_owner=None,
        lease_expires_at=None,
    )
    if row is None:
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
    """The guarded UPDATE of one transition, with its event; `None` when the guard did not hold."""
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


def _write(session: Session, hold: Hold, **values: Any) -> Row[int]:
    """A holder's UPDATE that changes no state."""
    row = session.execute(
        update(Job)
        .where(Job.id == hold.job_id, Job.state.in_(ACTIVE), Job.fence == hold.fence)
        .values(**(values or {"fence": Job.fence}))
        .returning(Job.event_seq)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return _held(row, hold)


def _held(row: T | None, hold: Hold) -> T:
    if row is None:
        raise FenceLost(hold.job_id, hold.fence)
    return row
