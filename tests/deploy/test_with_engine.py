"""The start of a container engine for a command, with small programs in place of docker and dockerd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.engine.with_engine import base_images

pytestmark = pytest.mark.integration

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may start dockerd")


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the wrapper with the programs of a folder; returns status and output."""
    command = [sys.executable, "-m", "tests.engine.with_engine", *arguments]
    environment = {"PATH": str(folder), "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_without_docker_the_command_is_skipped_with_the_reason(tmp_path: Path) -> None:
    status, output = run(tmp_path, "/bin/echo", "ran")
    assert (status, "ran" in output.split()) == (1, False)
    assert output.startswith("SKIPPED: the program `docker` is not installed;")
    assert run(tmp_path, "--or-skip", "/bin/echo", "ran") == (0, output)


def test_the_command_runs_on_an_engine_that_responds_and_its_status_counts(tmp_path: Path) -> None:
    program(tmp_path, "docker", "exit 0")
    assert run(tmp_path, "--or-skip", "/bin/sh", "-c", "echo ran; exit 3") == (3, "ran\n")


def test_without_dockerd_no_engine_is_started(tmp_path: Path) -> None:
    program(tmp_path, "docker", '[ "$1" != info ]')
    status, output = run(tmp_path, "--or-skip", "/bin/echo", "ran")
    assert status == 0
    assert output.startswith("SKIPPED: no container engine responds, and `dockerd` is not installed;")


@ROOT_ONLY
def test_a_dockerd_that_does_not_start_is_the_reason(tmp_path: Path) -> None:
    program(tmp_path, "docker", '[ "$1" != info ]')
    program(tmp_path, "dockerd", "echo failed to mount overlay; exit 1")
    status, output = run(tmp_path, "/bin/echo", "ran")
    assert status == 1
    assert output.startswith("SKIPPED: `dockerd` does not start on this machine: failed to mount overlay;")


@ROOT_ONLY
def test_a_dockerd_that_starts_is_used_and_stopped(tmp_path: Path) -> None:
    program(tmp_path, "docker", f'[ "$1" != info ] || [ -e {tmp_path}/up ]')
    program(tmp_path, "dockerd", f"echo $$ > {tmp_path}/up\nexec /bin/sleep 60")
    status, output = run(tmp_path, "/bin/sh", "-c", "echo $DOCKER_HOST")
    assert status == 0
    assert output.startswith(f"unix://{tmp_path}/dockerd-")
    assert not Path(f"/proc/{(tmp_path / 'up').read_text().strip()}").exists()
    assert list(tmp_path.glob("dockerd-*")) == []


def test_the_base_images_are_those_that_the_stack_pulls() -> None:
    assert [name.partition(":")[0] for name in base_images()] == ["python", "postgres", "redis"]
