"""Why did the trainer end? From exit status, last report and log to an error that says what to do."""

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
from uniapl.errors import CheckpointError, DeviceError, DiskFullError, DivergedError, ServerError
from uniapl.run.exit_status import ExitStatus
from uniapl.run.reports import ErrorReport
from uniapl.spec.resources import JobError

LONGEST = 500
"""Characters of an exception's text in a message."""
OUT_OF_MEMORY = ("OutOfMemoryError", "CUDA out of memory", "MemoryError", "can't allocate memory")
OOM_STATUSES = (-signal.SIGKILL, 128 + signal.SIGKILL)
MEMORY_HINT = (
    "lower resources.micro_batch_tokens, rollout.batch_size or rollout.max_new_tokens, or use a larger machine"
)


@dataclass(frozen=True)
class Failure:
    """An attempt that did not end well."""

    error: JobError
    may_pass: bool
    """Whether another attempt could end differently."""


def oom_kills() -> int:
    """How often the kernel has killed for memory, here and in our control group; it grows."""
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
    """What to tell the owner, and whether to try again.

    Args:
        status: `Popen.returncode`; negative for a signal.
        report: the trainer's own error report, if it could still write one.
        log_tail: the end of its log.
        oom_killed: whether the kernel has killed something for memory meanwhile.
    """
    if report is not None and report.code in (DeviceError.code, DiskFullError.code, ServerError.code):
        return _failure(report.code, report.message, "infra", report.hint, log_tail)
    if report is not None and status in (ExitStatus.USER_ERROR, ExitStatus.DIVERGED):
        torn = report.code == CheckpointError.code  # ours to mend: the next attempt resumes from an older one
        error = JobError(
            code=report.code,
            message=report.message,
            category="infra" if torn else "user",
            hint=report.hint,
            param=report.param,
            log_tail=log_tail,
        )
        return Failure(error, may_pass=torn or report.code == DivergedError.code)  # once back to the last checkpoint
    if any(word in log_tail for word in OUT_OF_MEMORY) or (status in OOM_STATUSES and oom_killed):
        return _failure("out_of_memory", "the trainer ran out of memory", "resource", MEMORY_HINT, log_tail)
    if status == ExitStatus.DISK_FULL or "No space left on device" in log_tail:
        hint = "free disk space, or lower schedule.keep_checkpoints"
        return _failure("disk_full", "the disk is full", "infra", hint, log_tail)
    if status == ExitStatus.NO_GPU:
        hint = "run `uniapl admin doctor` on the worker's machine"
        return _failure("gpu_unusable", "torch cannot use the GPU of the worker's machine", "infra", hint, log_tail)
    if status < 0:
        known = {number.value: number.name for number in signal.Signals}
        message = f"the trainer was killed by {known.get(-status, f'signal {-status}')}"
        hint = "no lack of memory was seen on this machine; whoever killed it knows why"
        return _failure("trainer_killed", message, "infra", hint, log_tail)
    hint = "the log's last lines tell more; if they do not, please report it"
    return _failure("trainer_crashed", f"the trainer ended with status {status}", "internal", hint, log_tail)


def _failure(code: str, message: str, category: str, hint: str | None, log_tail: str) -> Failure:
    fields = {"code": code, "message": message, "category": category, "hint": hint, "param": None}
    return Failure(JobError.model_validate({**fields, "log_tail": log_tail}), may_pass=True)


def hung(what: str, log_tail: str) -> Failure:
    """The trainer lived, and got nowhere. Its log ends with the stacks of its threads."""
    hint = "the stacks at the end of the log show where; UNIAPL_HANG_MIN_S and UNIAPL_PHASE_LIMIT_S set the limits"
    return _failure("hung", what, "infra", hint, log_tail)


def sidecar_failed(what: str, log_tail: str) -> Failure:
    """A model's server beside the trainer could not be kept alive; its log tells more than the trainer's."""
    hint = (
        "the end of that server's own log is below; UNIAPL_SIDECAR_RESTARTS and UNIAPL_SIDECAR_START_S set the limits"
    )
    told = _failure("sidecar_failed", what, "infra", hint, log_tail)
    return Failure(told.error, may_pass=False)  # it has been tried several times already


def lost_holder() -> JobError:
    """The holder of a job fell silent."""
    return JobError(
        code="worker_lost",
        message="the worker that held the job fell silent",
        category="infra",
        hint=None,
        param=None,
        log_tail="",
    )


def worker_error(error: Exception) -> JobError:
    """Something went wrong on the worker's side of the attempt."""
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return JobError(
        code="disk_full" if full else "worker_error",
        message="the disk is full" if full else f"the worker could not run the attempt: {_what(error)}",
        category="infra",
        hint="free disk space" if full else "the worker's log tells more",
        param=None,
        log_tail="",
    )


def _what(error: Exception) -> str:
    """An exception in a line that every database can store and the job's owner may read."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        text = f"what is stored of the job cannot be read: {f'{where}: ' if where else ''}{first['msg']}"
    elif isinstance(error, OSError) and error.strerror:
        text = ": ".join([error.strerror, *([Path(os.fsdecode(error.filename)).name] if error.filename else [])])
    else:
        text = "" if isinstance(error, SQLAlchemyError) else str(error)  # a statement has all its parameters
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return " ".join(text.replace("\x00", "\ufffd").split())[:LONGEST].encode(errors="replace").decode()


def secret_unusable(error: SecretUnusable) -> Failure:
    """The trainer cannot be given a secret that the spec names."""
    fault = JobError(
        code="secret_unusable",
        message=str(error),
        category="user",
        hint=f"store it again with PUT /secrets/{error.name}, and submit the job again",
        param="teacher.api_key_secret",
        log_tail="",
    )
    return Failure(fault, may_pass=False)


def no_final_checkpoint(log_tail: str) -> Failure:
    """The trainer ended well, but its last checkpoint never arrived."""
    return _failure("no_final_checkpoint", "the trainer ended without its last checkpoint", "internal", None, log_tail)
