"""States of a job and the transitions between them, as data.

Cancelling and pausing are intents (`jobs.cancel_requested_at`, `jobs.pause_requested_at`), not states that a caller can
set. `store.jobs.lifecycle` turns each transition into one guarded UPDATE with its event in the same transaction.
`python -m store.states` prints the table of docs/reliability.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """State of a job."""

    QUEUED = "queued"  # accepted; no worker holds it
    STARTING = "starting"  # claimed by a worker; models are loading
    RUNNING = "running"  # the trainer makes steps
    FINALIZING = "finalizing"  # the last step is done; the final checkpoint is being recorded
    RETRY_WAIT = "retry_wait"  # an attempt failed; a retry is scheduled
    PAUSED = "paused"  # stopped by the user; it holds no slot and resumes from its last checkpoint
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


STATES = tuple(State)
ACTIVE = (State.STARTING, State.RUNNING, State.FINALIZING)
DUE = (State.QUEUED, State.RETRY_WAIT)
"""Waiting for a worker."""
WAITING = (*DUE, State.PAUSED)
TERMINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Transition:
    """One arrow of the state machine."""

    sources: tuple[State, ...]
    to: State
    who: str
    guard: str
    """Condition beside the state, in words; the code is in `store.jobs.lifecycle`."""


CLAIM = Transition(
    (State.QUEUED,), State.STARTING, "worker", "no intent; a supported spec version; fence + 1, attempt + 1"
)
BEGIN = Transition((State.STARTING,), State.RUNNING, "holder", "fence; the trainer reports training")
FINALIZE = Transition(
    (State.STARTING, State.RUNNING), State.FINALIZING, "holder", "fence; exit status 0; the last step has a checkpoint"
)
SUCCEED = Transition((State.FINALIZING,), State.SUCCEEDED, "holder", "fence")
FAIL = Transition(ACTIVE, State.FAILED, "holder, sweeper", "fence; permanent failure, or a budget is spent")
RETRY = Transition(ACTIVE, State.RETRY_WAIT, "holder, sweeper", "fence; for the sweeper also an expired lease")
PREEMPT = Transition(ACTIVE, State.QUEUED, "holder", "fence; a checkpoint was attempted; no retry is spent")
PAUSE_ACTIVE = Transition(ACTIVE, State.PAUSED, "holder", "fence; intent to pause, none to cancel; dead process group")
REQUEUE = Transition((State.RETRY_WAIT,), State.QUEUED, "sweeper", "it is due; no intent")
PAUSE_WAITING = Transition(DUE, State.PAUSED, "api, sweeper", "intent to pause, none to cancel")
RESUME = Transition((State.PAUSED,), State.QUEUED, "api", "none")
CANCEL_WAITING = Transition(WAITING, State.CANCELLED, "api, sweeper", "intent to cancel")
CANCEL_ACTIVE = Transition(ACTIVE, State.CANCELLED, "holder, sweeper", "fence; intent to cancel; dead process group")

TRANSITIONS = {name: value for name, value in globals().copy().items() if isinstance(value, Transition)}


def table() -> str:
    """The transitions as a Markdown table."""
    lines = ["| from | to | by | guard, beside the state |", "|---|---|---|---|"]
    for transition in TRANSITIONS.values():
        sources = ", ".join(f"`{state}`" for state in transition.sources)
        lines.append(f"| {sources} | `{transition.to}` | {transition.who} | {transition.guard} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
