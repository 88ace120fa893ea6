"""Failure classification: from a trainer's exit status, last report and log to an error with a hint."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from store.access.secrets import SecretUnusable
from uniapl.errors import (
    CheckpointError,
    DeviceError,
    DiskFullError,
    SamplerRefusedError,
    ServerError,
    VllmMissingError,
)
from uniapl.run.exit_status import ExitStatus
from uniapl.run.out_of_memory import is_out_of_memory, lacks_shared_memory
from uniapl.run.reports import ErrorReport
from uniapl.spec.resources import JobError

LONGEST = 500
"""Characters of an exception that a message may contain."""
OOM_STATUSES = (-signal.SIGKILL, 128 + signal.SIGKILL)
MEMORY_HINT = (
    "Lower resources.micro_batch_tokens, rollout.batch_size or rollout.max_new_tokens, or use a larger machine."
)

SHARED_MEMORY_HINT = (
    "Run the job on a GPU with more shared memory per multiprocessor (A100, H100), or choose a student with smaller "
    "attention heads. Smaller batches do not help."
)


@dataclass(frozen=True)
class Failure:
    """The error of a failed attempt, and whether a retry may succeed."""

    error: JobError
    may_pass: bool
    """Whether another attempt may succeed."""


def oom_kills() -> int:
    """Out-of-memory kills by the kernel since boot, on this machine and in this process's control group."""
    files = [Path("/proc/vmstat")]
    with suppress(OSError):
        group = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2]
        files.append(Path("/sys/fs/cgroup") / group.lstrip("/") / "memory.events")
    kills = 0
    for file in files:
        with suppress(OSError):
            lines = (line.split() for line in file.read_text().splitlines())
            kills += sum(int(line[1]) for line in lines if line[0] == "oom_kill")
    return kills


def classify(status: int, report: ErrorReport | None, log_tail: str, *, oom_killed: bool = False) -> Failure:
    """The error of an attempt whose trainer failed, and whether to retry.

    Args:
        status: `Popen.returncode`; negative for a signal.
        report: the trainer's own error report, if it wrote one.
        log_tail: the end of its log.
        oom_killed: whether the kernel killed a process for memory during the attempt.
    """
    if report is not None and report.code in (DeviceError.code, DiskFullError.code, ServerError.code):
        return _failure(report.code, report.message, "infra", report.hint, log_tail)
    if report is not None and status in (ExitStatus.USER_ERROR, ExitStatus.DIVERGED):
        torn = report.code == CheckpointError.code  # not the user's fault: the next attempt resumes from an older one
        error = JobError(
            code=report.code,
            message=report.message,
            category="infra" if torn else "user",
            hint=report.hint,
            param=report.param,
            log_tail=log_tail,
        )
        return Failure(error, may_pass=torn)  # a divergence repeats: the resumed run draws the same rows and samples
    if lacks_shared_memory(log_tail):
        message = "the model of GPU has less shared memory than a kernel of the student needs"
        return _failure("gpu_unsupported", message, "infra", SHARED_MEMORY_HINT, log_tail)
    if is_out_of_memory(log_tail) or (status in OOM_STATUSES and oom_killed):
        return _failure("out_of_memory", "the trainer ran out of memory", "resource", MEMORY_HINT, log_tail)
    if status == ExitStatus.DISK_FULL or "No space left on device" in log_tail:
        hint = "Free disk space, or lower schedule.keep_checkpoints."
        return _failure("disk_full", "the disk is full", "infra", hint, log_tail)
    if status == ExitStatus.NO_GPU:
        hint = "Run `uniapl admin doctor` on the worker's machine."
        return _failure("gpu_unusable", "torch cannot use the GPU of the worker's machine", "infra", hint, log_tail)
    if status < 0:
        known = {number.value: number.name for number in signal.Signals}
        message = f"the trainer was killed by {known.get(-status, f'signal {-status}')}"
        hint = "The kernel reported no out-of-memory kill; the process was terminated from outside the service."
        return _failure("trainer_killed", message, "infra", hint, log_tail)
    hint = "See the last lines of the log; if they show no cause, report a bug."
    return _failure("trainer_crashed", f"the trainer exited with status {status}", "internal", hint, log_tail)


def _failure(code: str, message: str, category: str, hint: str | None, log_tail: str) -> Failure:
    fields = {"code": code, "message": message, "category": category, "hint": hint, "param": None}
    return Failure(JobError.model_validate({**fields, "log_tail": log_tail}), may_pass=True)


def hung(what: str, log_tail: str) -> Failure:
    """The trainer made no progress and was killed. Its log ends with the stacks of its threads."""
    hint = "See the thread stacks at the end of the log. UNIAPL_HANG_MIN_S and UNIAPL_PHASE_LIMIT_S set the limits."
    return _failure("hung", what, "infra", hint, log_tail)


def sidecar_failed(what: str, log_tail: str) -> Failure:
    """A model server beside the trainer failed too often; `log_tail` is the end of the server's own log."""
    hint = "See the end of the server's log. UNIAPL_SIDECAR_RESTARTS and UNIAPL_SIDECAR_START_S set the limits."
    failure = _failure("sidecar_failed", what, "infra", hint, log_tail)
    return Failure(failure.error, may_pass=False)  # the worker has already restarted the server several times


def lost_holder() -> JobError:
    """The worker of a job stopped renewing its lease."""
    return JobError(
        code="worker_lost",
        message="the worker stopped renewing the job's lease",
        category="infra",
        hint=None,
        param=None,
        log_tail="",
    )


def worker_error(error: Exception) -> JobError:
    """The worker failed to run the attempt."""
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return JobError(
        code="disk_full" if full else "worker_error",
        message="the disk is full" if full else f"the worker could not run the attempt: {_what(error)}",
        category="infra",
        hint="Free disk space." if full else "See the worker's log.",
        param=None,
        log_tail="",
    )


def _what(error: Exception) -> str:
    """An exception as one line that every database can store and that reveals no internals to the user."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        text = f"the stored job cannot be read: {f'{where}: ' if where else ''}{first['msg']}"
    elif isinstance(error, OSError) and error.strerror:
        text = ": ".join([error.strerror, *([Path(os.fsdecode(error.filename)).name] if error.filename else [])])
    else:
        text = (
            "" if isinstance(error, SQLAlchemyError) else str(error)
        )  # its text contains the parameters of the statement
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return " ".join(text.replace("\x00", "\ufffd").split())[:LONGEST].encode(errors="replace").decode()


def secret_unusable(error: SecretUnusable) -> Failure:
    """A secret that the spec names cannot be decrypted."""
    fault = JobError(
        code="secret_unusable",
        message=str(error),
        category="user",
        hint=f"Store the secret again with PUT /secrets/{error.name}, then submit the job again.",
        param="teacher.api_key_secret",
        log_tail="",
    )
    return Failure(fault, may_pass=False)


def no_sampler(error: VllmMissingError | SamplerRefusedError) -> Failure:
    """The spec names a sampler, or another server, that neither this worker nor another live one has."""
    fault = _failure(error.code, error.message, "infra", error.hint, "").error
    return Failure(fault.model_copy(update={"param": error.param}), may_pass=False)


def no_final_checkpoint(log_tail: str) -> Failure:
    """The trainer exited with success, but its last checkpoint is not recorded."""
    return _failure(
        "no_final_checkpoint", "the trainer exited without recording its last checkpoint", "internal", None, log_tail
    )
