"""Every way a trainer can end is named, with a hint where there is something to do."""

from __future__ import annotations

import pytest

from uniapl.run.exit_status import ExitStatus
from uniapl.run.reports import ErrorReport
from worker import failures
from worker.failures import classify

pytestmark = pytest.mark.unit

REPORT = ErrorReport(seq=1, ts=0.0, code="invalid_spec", message="no rows", hint="add rows", param="dataset_mix")

FULL = ErrorReport(seq=1, ts=0.0, code="disk_full", message="full", hint=None, param=None)
NAN = ErrorReport(seq=1, ts=0.0, code="diverged", message="not finite", hint=None, param=None)
TORN = ErrorReport(seq=1, ts=0.0, code="invalid_checkpoint", message="torn", hint=None, param=None)


@pytest.mark.parametrize(
    ("status", "report", "log", "code", "category", "may_pass"),
    [
        (64, REPORT, "", "invalid_spec", "user", False),
        (70, REPORT, "", "invalid_spec", "user", False),
        (64, None, "usage: …", "trainer_crashed", "internal", True),
        (1, None, "torch.OutOfMemoryError: CUDA out of memory.", "out_of_memory", "resource", True),
        (1, None, "torch.AcceleratorError: CUDA error: out of memory", "out_of_memory", "resource", True),
        (1, None, "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "out_of_memory", "resource", True),
        (1, None, "RuntimeError: Triton Error [CUDA]: out of memory", "out_of_memory", "resource", True),
        (1, None, "No valid triton configs. OutOfMemoryError: out of resource", "gpu_unsupported", "infra", True),
        (1, None, "OSError: [Errno 28] No space left on device", "disk_full", "infra", True),
        (-9, None, "", "trainer_killed", "infra", True),
        (70, NAN, "", "diverged", "user", False),
        (74, FULL, "", "disk_full", "infra", True),
        (74, None, "", "disk_full", "infra", True),  # neither report nor log could be written
        (120, FULL, "", "disk_full", "infra", True),  # what an interpreter that cannot flush its log ends with
        (69, None, "", "gpu_unusable", "infra", True),
        (-11, None, "", "trainer_killed", "infra", True),
        (-40, None, "", "trainer_killed", "infra", True),
        (64, TORN, "", "invalid_checkpoint", "infra", True),
        (1, None, "ZeroDivisionError", "trainer_crashed", "internal", True),
    ],
)
def test_an_end_is_classified(
    status: int, report: ErrorReport | None, log: str, code: str, category: str, may_pass: bool
) -> None:
    failure = classify(status, report, log)
    assert (failure.error.code, failure.error.category, failure.may_pass) == (code, category, may_pass)
    assert failure.error.log_tail == log


@pytest.mark.parametrize(("status", "code"), [(-9, "out_of_memory"), (137, "out_of_memory"), (1, "trainer_crashed")])
def test_a_kill_counts_as_lack_of_memory_where_the_kernel_has_killed_for_memory(status: int, code: str) -> None:
    assert classify(status, None, "", oom_killed=True).error.code == code
    assert classify(status, None, "", oom_killed=False).error.code != "out_of_memory"


def test_the_kernels_count_can_be_read_here() -> None:
    assert failures.oom_kills() >= 0


def test_exit_statuses_keep_the_values_that_are_documented() -> None:
    assert {status.name: status.value for status in ExitStatus} == {
        "DONE": 0,
        "FAILED": 1,
        "USER_ERROR": 64,
        "NO_GPU": 69,
        "DIVERGED": 70,
        "DISK_FULL": 74,
        "REQUEUE": 75,
    }
