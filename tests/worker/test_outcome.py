"""The outcome of an attempt for every exit status of a trainer in every situation."""

from __future__ import annotations

from typing import Any

import pytest

from store.jobs.claims import Intents
from uniapl.run.exit_status import ExitStatus
from uniapl.run.reports import ErrorReport
from worker.failures import sidecar_failed
from worker.outcome import TrainerEnd, outcome

pytestmark = pytest.mark.unit

CANCEL, PAUSE, BOTH = (Intents(cancel, pause) for cancel, pause in ((True, False), (False, True), (True, True)))
SITUATIONS: dict[str, dict[str, Any]] = {
    "alone": {},
    "cancel": {"intents": CANCEL},
    "pause": {"intents": PAUSE},
    "both": {"intents": BOTH},
    "drain": {"draining": True, "stop_requested": True},
    "overdue": {"drain_expired": True, "stop_requested": True},
    "withdrawn": {"stop_requested": True},  # a pause, after the trainer was sent SIGTERM
    "oom": {"oom_killed": True},
    "hung": {"hung": "the trainer made no progress"},
    "server": {"server_failure": sidecar_failed("the sampler's server failed", "")},
}
TABLE = """
end        alone                 cancel pause   both   drain   overdue withdrawn oom             hung   server
done+final s:done                =      =       =      =       =       =         =               =      =
done       r:no_final_checkpoint cancel preempt cancel preempt preempt =         =               r:hung f:sidecar_failed
failed     r:trainer_crashed     cancel preempt cancel preempt preempt =         =               r:hung f:sidecar_failed
user_error f:invalid_spec        cancel preempt cancel preempt preempt =         =               r:hung f:sidecar_failed
torn       r:invalid_checkpoint  cancel preempt cancel preempt preempt =         =               r:hung f:sidecar_failed
no_gpu     r:gpu_unusable        cancel preempt cancel preempt preempt =         =               r:hung f:sidecar_failed
diverged   f:diverged            cancel preempt cancel preempt preempt =         =               r:hung f:sidecar_failed
disk_full  r:disk_full           cancel preempt cancel preempt preempt =         =               r:hung f:sidecar_failed
requeue    preempt               cancel =       cancel =       =       =         =               =      =
sigterm    r:trainer_killed      cancel preempt cancel preempt preempt preempt   =               r:hung f:sidecar_failed
sigkill    r:trainer_killed      cancel preempt cancel preempt preempt =         r:out_of_memory r:hung f:sidecar_failed
sigkill_sh r:trainer_crashed     cancel preempt cancel preempt preempt =         r:out_of_memory r:hung f:sidecar_failed
"""
"""`=`: as `alone`; r, f, s: retry, fail, succeed."""


def report(code: str) -> ErrorReport:
    return ErrorReport(seq=1, ts=0.0, code=code, message="m", hint=None, param=None)


ENDS: dict[str, dict[str, Any]] = {
    "done+final": {"status": ExitStatus.DONE, "has_final_checkpoint": True},
    "done": {"status": ExitStatus.DONE},
    "failed": {"status": ExitStatus.FAILED},
    "user_error": {"status": ExitStatus.USER_ERROR, "report": report("invalid_spec")},
    "torn": {"status": ExitStatus.USER_ERROR, "report": report("invalid_checkpoint")},
    "no_gpu": {"status": ExitStatus.NO_GPU},
    "diverged": {"status": ExitStatus.DIVERGED, "report": report("diverged")},
    "disk_full": {"status": ExitStatus.DISK_FULL},
    "requeue": {"status": ExitStatus.REQUEUE},
    "sigterm": {"status": -15},
    "sigkill": {"status": -9},
    "sigkill_sh": {"status": 137},
}
TRANSITIONS = {"r": "retry", "f": "fail", "s": "succeed"}
EXIT_KINDS = {"cancel": "cancelled", "preempt": "preempted"}


def cases() -> list[tuple[str, str, str]]:
    """Every end, situation and expected outcome of the table."""
    heading, *rows = (line.split() for line in TABLE.strip().splitlines())
    found = []
    for end, *cells in rows:
        found += [(end, name, cells[0] if cell == "=" else cell) for name, cell in zip(heading[1:], cells, strict=True)]
    return found


@pytest.mark.parametrize(("end", "situation", "expected"), cases())
def test_the_outcome_follows_the_table(end: str, situation: str, expected: str) -> None:
    found = outcome(TrainerEnd(**ENDS[end], **SITUATIONS[situation]))
    letter, _, code = expected.partition(":")
    transition = TRANSITIONS.get(letter, letter)
    assert (found.transition, found.exit_kind) == (transition, code or EXIT_KINDS[transition])
    assert (found.error.code if found.error else None) == (code if transition in ("retry", "fail") else None)
    assert found.reports_complete == (ENDS[end]["status"] in (ExitStatus.DONE, ExitStatus.REQUEUE))
    assert found.resumed_from_unusable == (code == "invalid_checkpoint")


def test_the_table_has_every_exit_status_and_every_situation() -> None:
    assert set(ExitStatus) <= {end["status"] for end in ENDS.values()}
    assert {(end, situation) for end, situation, _ in cases()} == {(e, s) for e in ENDS for s in SITUATIONS}


def test_a_failure_carries_the_end_of_the_log() -> None:
    for end in (TrainerEnd(1, log_tail="last line"), TrainerEnd(-9, hung="it hangs", log_tail="last line")):
        error = outcome(end).error
        assert error is not None
        assert error.log_tail == "last line"
