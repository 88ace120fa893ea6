"""A full disk, and files that are gone: the run ends with an error that says so, and nothing older is harmed."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODELS, ROOT
from tests.uniapl.killed import reports, trained
from tests.uniapl.training.test_train_command import DATA, run_file, start
from uniapl.errors import UniaplError
from uniapl.rewards.pool import RewardPool
from uniapl.run import manifest
from uniapl.run.config import ModelSource, RunConfig
from uniapl.run.credentials import Credentials
from uniapl.run.exit_status import ExitStatus
from uniapl.run.reporter import Reporter
from uniapl.run.reports import CheckpointReport, ErrorReport
from uniapl.run.signals import Signals
from uniapl.training.setup import prepare

pytestmark = pytest.mark.integration

MIB = 1 << 20
SHORT: dict[str, Any] = {
    "alpha": 1,
    "lambda_adv": 0,
    "schedule": {"steps": 6, "prompts_per_step": 2, "checkpoint_every": 1},
    "evaluation": None,
}
"""Imitation alone: quick, and with checkpoints of 41 MiB."""


def check_the_end(folder: Path, steps: list[int]) -> None:
    """The last report tells of the disk; of the checkpoints those of `steps` are left, whole."""
    last = reports(folder)[-1]
    assert isinstance(last, ErrorReport)
    assert last.code == "disk_full"
    assert last.hint is not None
    assert [r.step for r in reports(folder) if isinstance(r, CheckpointReport)] == steps
    checkpoints = folder / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == [f"step-{step:08d}" for step in steps]
    assert [manifest.verify(path) for path in sorted(checkpoints.iterdir())] == steps


def test_a_disk_that_fills_up_in_a_checkpoint(tmp_path: Path) -> None:
    """On a file system of 70 MiB, mounted in a namespace of its own, where the log lies as well."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    run = run_file(tmp_path / "run", **SHORT)
    run.write_text(run.read_text().replace(str(tmp_path / "run"), str(disk)))
    script = (
        'mount -t tmpfs -o size=70m none "$1" || exit 3; "$3" -m uniapl train "$4" 2> "$1/log.txt"; status=$?; '
        'cp -r "$1" "$2"; exit $status'
    )
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(disk), str(copy), sys.executable, str(run)]
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("no namespaces here, so no file system of our own")
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status == 3:
        pytest.skip("tmpfs cannot be mounted here")
    assert status == ExitStatus.DISK_FULL
    check_the_end(copy, [1])
    log = (copy / "log.txt").read_text()
    assert "error: disk_full: cannot write a file:" in log
    assert "No space left on device" in log


def limited(run: Path, largest: int) -> tuple[int, str]:
    """Train where no file may grow beyond `largest` bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    command = [sys.executable, "-m", "uniapl", "train", str(run)]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, preexec_fn=limit
    )
    return done.returncode, done.stderr


def test_a_limit_on_files_ends_a_run_alike(tmp_path: Path) -> None:
    status, errors = limited(run_file(tmp_path, **SHORT), 20 * MIB)  # the weights fit, the optimizer does not
    assert status == ExitStatus.DISK_FULL, errors
    check_the_end(tmp_path, [])
    assert "error: disk_full: cannot write a file:" in errors


def test_where_not_even_the_error_can_be_reported_the_status_still_says_it(tmp_path: Path) -> None:
    status, errors = limited(run_file(tmp_path, **SHORT), 400)  # less than the first step's metrics
    assert status == ExitStatus.DISK_FULL, errors
    assert errors.splitlines()[-1].startswith("error: disk_full: cannot write a file: [Errno 27]")
    assert not any(isinstance(report, ErrorReport) for report in reports(tmp_path))


def test_a_full_disk_does_not_mask_another_error(tmp_path: Path) -> None:
    status, errors = limited(run_file(tmp_path, dataset_mix=[{"dataset": "/nowhere.jsonl"}]), 100)
    assert status == 64, errors
    assert errors.splitlines()[-1].startswith("error: invalid_dataset: cannot read dataset /nowhere.jsonl")
    assert reports(tmp_path) == []


def test_a_log_that_cannot_be_written_ends_the_run_with_that_status_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uniapl", "train", str(run_file(tmp_path, **SHORT))]
    environment = os.environ | {"PYTHONUNBUFFERED": ""}  # what is buffered would be written at the interpreter's end
    with Path("/dev/full").open("w") as log:
        status = subprocess.run(command, cwd=ROOT, stderr=log, env=environment, check=False).returncode
    assert status == ExitStatus.DISK_FULL


def test_a_run_needs_its_model_and_data_only_to_begin(tmp_path: Path) -> None:
    student, data = tmp_path / "student", tmp_path / "rows.jsonl"
    shutil.copytree(MODELS / "tiny-random-llama", student)
    shutil.copy(DATA / "chance.jsonl", data)
    fields: dict[str, Any] = {"student": str(student), "dataset_mix": [{"dataset": str(data)}], "lora": {"rank": 2}}
    fields["schedule"] = {"steps": 100, "prompts_per_step": 2, "checkpoint_every": 100}  # it trains still when asked
    process = start(run_file(tmp_path / "run", **SHORT | fields))
    deadline = time.monotonic() + 120
    while not trained(tmp_path / "run"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    shutil.rmtree(student)
    data.unlink()
    process.send_signal(signal.SIGUSR2)  # a supervisor that wonders what it is doing
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Current thread 0x" in errors
    assert "uniapl/training/trainer.py" in errors
    assert trained(tmp_path / "run")[-1].step == 100


@pytest.mark.parametrize("gone", ["student", "discriminator", "weights", "dataset", "checkpoint"])
def test_what_is_gone_is_named(gone: str, tmp_path: Path) -> None:
    student, nowhere = tmp_path / "student", str(tmp_path / "gone")
    if gone == "weights":
        shutil.copytree(MODELS / "tiny-random-llama", student, ignore=shutil.ignore_patterns("*.safetensors"))
    judge = {"discriminator": {"type": "embedding", "model": nowhere}, "lambda_adv": 0.1}
    fields, code, says = {
        "student": ({"student": nowhere}, "model_not_loadable", f"cannot load {nowhere}: the folder does not exist"),
        "discriminator": (
            judge,
            "model_not_loadable",
            f"cannot load the discriminator {nowhere}: the folder does not exist",
        ),
        "weights": ({"student": str(student)}, "model_not_loadable", "no file named model.safetensors"),
        "dataset": ({"dataset_mix": [{"dataset": nowhere}]}, "invalid_dataset", f"cannot read dataset {nowhere}"),
        "checkpoint": ({}, "invalid_checkpoint", "checkpoint gone cannot be read"),
    }[gone]
    path = run_file(tmp_path / "run", resume_from=nowhere if gone == "checkpoint" else None, **SHORT | fields)
    run = RunConfig.model_validate_json(path.read_text())
    folders = ModelSource(path=nowhere), ModelSource(path=str(student))
    run = run.model_copy(update={"models": {folder.path: folder for folder in folders}})
    with (
        Reporter(tmp_path / "reports.jsonl") as reporter,
        RewardPool(run.spec.reward) as rewards,
        pytest.raises(UniaplError) as caught,
    ):
        prepare(run, reporter, Signals(), rewards, Credentials())
    assert caught.value.code == code
    assert says in caught.value.message
