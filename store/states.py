"""The states of a job and the transitions between them, as data.

Cancelling is an intent (`jobs.cancel_requested_at`), never a state a caller can set. `store.jobs` turns each transition
into one guarded UPDATE with its event in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"  # accepted; no worker has it
    STARTING = "starting"  # a worker has it; models are loading
    RUNNING = "running"  # steps are made
    FINALIZING = "finalizing"  # the last step is made; the final checkpoint is being recorded
    RETRY_WAIT = "retry_wait"  # an attempt failed; the next waits for its time
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


STATES = tuple(State)
ACTIVE = (State.STARTING, State.RUNNING, State.FINALIZING)
WAITING = (State.QUEUED, State.RETRY_WAIT)
TERMINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Transition:
    """One arrow of the state machine."""

    sources: tuple[State, ...]
    to: State
    who: str
    guard: str
    """What must hold beside the state, in words; the code is in `store.jobs`."""


CLAIM = Transition((State.QUEUED,), State.STARTING, "worker", "no cancellation; fence + 1, attempt + 1")
BEGIN = Transition((State.STARTING,), State.RUNNING, "holder", "fence; the trainer reports training")
FINALIZE = Transition(
    (State.STARTING, State.RUNNING), State.FINALIZING, "holder", "fence; exit status 0; the last step has a checkpoint"
)
SUCCEED = Transition((State.FINALIZING,), State.SUCCEEDED, "holder", "fence")
FAIL = Transition(ACTIVE, State.FAILED, "holder, sweeper", "fence; the failure is permanent, or the budget is spent")
RETRY = Transition(ACTIVE, State.RETRY_WAIT, "holder, sweeper", "fence; for the sweeper also an expired lease")
PREEMPT = Transition(ACTIVE, State.QUEUED, "holder", "fence; a checkpoint was tried; no retry is spent")
REQUEUE = Transition((State.RETRY_WAIT,), State.QUEUED, "sweeper", "its time has come")
CANCEL_WAITING = Transition(WAITING, State.CANCELLED, "api", "no worker has it")
CANCEL_ACTIVE = Transition(ACTIVE, State.CANCELLED, "holder, sweeper", "fence; intent set; the trainer's group is dead")

TRANSITIONS = {name: value for name, value in globals().copy().items() if isinstance(value, Transition)}
