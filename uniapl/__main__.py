"""Command line of the trainer: `python -m uniapl train run.json` runs one job without the service.

The process ends with an `ExitStatus`.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from uniapl import tracing
from uniapl.errors import DeviceError, DiskFullError, DivergedError, UnhealthyError, UniaplError
from uniapl.run.atomic import no_space
from uniapl.run.config import RunConfig
from uniapl.run.credentials import Credentials, parse_secrets
from uniapl.run.exit_status import ExitStatus
from uniapl.run.progress import print_end
from uniapl.run.ranks import launcher_problem
from uniapl.run.resolve import resolve
from uniapl.run.signals import Signals, die_with_parent
from uniapl.spec.base import field_path


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m uniapl", description="Run UniAPL training.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train the run of a run.json")
    train.add_argument("run", type=Path, help="path of a RunConfig as JSON; see docs/train.md")
    train.add_argument("--parent-pid", type=int, help="exit when this parent process dies")
    train.add_argument("--secrets-stdin", action="store_true", help="read secrets as a JSON object from standard input")
    arguments = parser.parse_args(argv)
    if (refused := launcher_problem(os.environ)) is not None:
        print(f"error: {refused}", file=sys.stderr)
        return ExitStatus.USER_ERROR
    if arguments.parent_pid is not None:
        die_with_parent(arguments.parent_pid)
    signals = Signals()
    signals.install()
    try:
        text = arguments.run.read_text()
        run = RunConfig.model_validate_json(text)
    except OSError as error:
        print(f"error: cannot read {arguments.run}: {error.strerror}", file=sys.stderr)
        return ExitStatus.USER_ERROR
    except ValidationError as error:
        print(f"error: {arguments.run} is not a valid run:", file=sys.stderr)
        for problem in error.errors():
            given = None if problem["type"] == "json_invalid" else json.loads(text)
            reason = problem["msg"].removeprefix("Value error, ")
            print(f"  {field_path(problem, given) or 'file'}: {reason}", file=sys.stderr)
        return ExitStatus.USER_ERROR
    secrets = parse_secrets(sys.stdin.read()) if arguments.secrets_stdin else {}
    return _train(run, arguments.run.parent, signals, Credentials(secrets, run.public_addresses_only))


def _train(run: RunConfig, folder: Path, signals: Signals, credentials: Credentials) -> int:
    redactor = credentials.redactor(run.spec)
    redactor.guard_outputs()
    _configure_allocator(os.environ, shared_card=run.shared_card)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of a kernel that nothing here uses
    gc.disable()  # importing torch and transformers creates a million objects, none of which is garbage
    with signals.loading():
        import transformers  # slow to import, so after the arguments are checked

        from uniapl.rewards.pool import RewardPool
        from uniapl.run.reporter import Reporter
        from uniapl.training.setup import log_environment, prepare

    gc.freeze()  # later collections skip these objects too
    gc.enable()
    transformers.utils.logging.disable_progress_bar()  # progress bars would fill the log
    try:
        print(log_environment(), file=sys.stderr)
        tracing.start("uniapl-trainer")
        with (
            tracing.span("train", parent=os.environ.get(tracing.VARIABLE)),
            Reporter(Path(run.run_dir) / "reports.jsonl", redactor) as reporter,
            RewardPool(run.spec.reward) as rewards,
        ):
            try:
                with signals.loading():
                    trainer = prepare(resolve(run, folder), reporter, signals, rewards, credentials)
                finished = trainer.train()
                print_end(run, trainer.done)
            except Exception as raised:
                if (error := _known(raised)) is not None:
                    with suppress(OSError):  # fails too on a full disk
                        reporter.error(error)
                raise
    except Exception as raised:
        if (error := _known(raised)) is None:
            raise
        try:
            print(f"error: {error.code}: {error.message}", file=sys.stderr)
        except OSError:
            sys.stderr = None  # else the interpreter flushes it at exit, and fails with another status
        return _exit_status(error)
    return ExitStatus.DONE if finished else ExitStatus.REQUEUE


def _configure_allocator(environment: MutableMapping[str, str], *, shared_card: bool) -> None:
    """Let torch extend blocks of GPU memory, unless the operator configures its allocator.

    Packs differ in size, and blocks of fixed size fragment. A sampler on the same GPU opens the trainer's tensors by
    CUDA IPC; for extended blocks this needs `pidfd_getfd`, which containers refuse (pytorch#165685). Torch reads the
    variable when it is imported; it ignores the older name where the newer is set.
    """
    if not shared_card and not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & environment.keys():
        environment["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"


def _known(raised: Exception) -> UniaplError | None:
    """The error as a `UniaplError`; `None` for an unexpected one."""
    if isinstance(raised, UniaplError):
        return raised
    if (write := no_space(raised)) is None:
        return None
    hint = "free disk space or lower schedule.keep_checkpoints, then resume from the last checkpoint, which is complete"
    return DiskFullError(f"cannot write a file: {write}", hint=hint)


def _exit_status(error: UniaplError) -> int:
    if isinstance(error, DiskFullError):
        return ExitStatus.DISK_FULL
    if isinstance(error, DeviceError):
        return ExitStatus.NO_GPU
    return ExitStatus.DIVERGED if isinstance(error, (DivergedError, UnhealthyError)) else ExitStatus.USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
