"""The outcome of an attempt: a pure function from how its trainer ended to the transition of its job.

It reads no process, no file and no database: `worker.attempt` collects the facts and applies the outcome.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

from store.jobs.claims import Intents
from uniapl.errors import CheckpointError
from uniapl.run.exit_status import ExitStatus
from uniapl.run.reports import ErrorReport
from uniapl.spec.resources import JobError
from worker.failures import Failure, classify, hung, no_final_checkpoint

NO_INTENTS = Intents(cancel=False, pause=False)
Transition = Literal["succeed", "cancel", "preempt", "retry", "fail"]
"""A function of `store.jobs.lifecycle`; `retry` becomes a failure there once the job's budgets are spent."""


@dataclass(frozen=True)
class TrainerEnd:
    """Everything that decides the outcome of an attempt."""

    status: int
    """`Popen.returncode`; negative for a signal."""
    has_final_checkpoint: bool = False
    """Whether the checkpoint of the job's last step is recorded."""
    intents: Intents = NO_INTENTS
    draining: bool = False
    """Whether the worker is stopping."""
    stop_requested: bool = False
    """Whether the trainer was sent SIGTERM; the pause that caused it may have been withdrawn since."""
    drain_expired: bool = False
    """Whether the trainer was killed because it did not end within `UNIAPL_DRAIN_S`."""
    server_failure: Failure | None = None
    """Failure of a model server beside the trainer, for which the trainer was killed."""
    hung: str | None = None
    """The watchdog's finding for which the trainer was killed."""
    report: ErrorReport | None = None
    """The trainer's own error report."""
    oom_killed: bool = False
    """Whether the kernel killed a process for memory during the attempt."""
    log_tail: str = ""


@dataclass(frozen=True)
class Outcome:
    """The transition of the job, and the record of its attempt."""

    transition: Transition
    exit_kind: str
    """`attempts.exit_kind`: `done`, `cancelled`, `preempted`, or the code of `error`."""
    reports_complete: bool
    """Whether the trainer had time to report everything; otherwise a checkpoint may be complete but unreported."""
    error: JobError | None = None
    """For `retry` and `fail`."""

    @property
    def resumed_from_unusable(self) -> bool:
        """Whether the checkpoint that the attempt resumed from cannot be read: the next one needs an older one."""
        return self.exit_kind == CheckpointError.code


def outcome(end: TrainerEnd) -> Outcome:
    """The outcome of an attempt. Success outweighs every intent, and cancelling outweighs stopping."""
    complete = end.status in (ExitStatus.DONE, ExitStatus.REQUEUE)
    if end.status == ExitStatus.DONE and end.has_final_checkpoint:
        return Outcome("succeed", "done", complete)
    if end.intents.cancel:
        return Outcome("cancel", "cancelled", complete)
    if _was_stopped(end) or end.draining or end.intents.pause:
        return Outcome("preempt", "preempted", complete)
    failure = _failure(end)
    return Outcome("retry" if failure.may_pass else "fail", failure.error.code, complete, failure.error)


def _was_stopped(end: TrainerEnd) -> bool:
    """Whether the trainer ended on request, which is no failure of its job."""
    before_its_handler = end.stop_requested and end.status == -signal.SIGTERM
    return end.status == ExitStatus.REQUEUE or before_its_handler or end.drain_expired


def _failure(end: TrainerEnd) -> Failure:
    """The first cause wins: in the first two cases the worker killed the trainer, so its status is not the cause."""
    if end.server_failure is not None:
        return end.server_failure
    if end.hung is not None:
        return hung(end.hung, end.log_tail)
    if end.status == ExitStatus.DONE:
        return no_final_checkpoint(end.log_tail)
    return classify(end.status, end.report, end.log_tail, oom_killed=end.oom_killed)
