"""`python -m embedded`: printed first steps, and termination of all processes in every case."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from uniapl_client import Client

from embedded.first_key import key_file
from tests.conftest import ROOT
from tests.e2e.conftest import CHANCE, IMPATIENT, trainers, wait_for

pytestmark = pytest.mark.integration


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "embedded", "--data-dir", str(tmp_path), "--port", "18080"]
    environment = {**os.environ, **IMPATIENT}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    yield process
    process.kill()
    process.communicate()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "listening on http://127.0.0.1:" in line
    return line.split()[4]


def busy(url: str, folder: Path) -> None:
    """Give the service a job that would run for long."""
    with Client(url, api_key=key_file(folder).read_text().strip()) as client:
        spec = {
            "student": "tiny-random-llama",
            "dataset_mix": [{"dataset": client.datasets.upload(CHANCE).id}],
            "rollout": {"max_new_tokens": 8},
            "schedule": {"steps": 10_000, "prompts_per_step": 2},
        }
        job = client.jobs.create(**spec)
        wait_for(lambda: client.jobs.get(job.id).step >= 1)
    assert len(trainers(folder)) == 1


@pytest.mark.parametrize(
    "end", [signal.SIGINT, *(pytest.param(s, marks=pytest.mark.full) for s in (signal.SIGTERM, signal.SIGKILL))]
)
def test_no_process_is_left_behind(serve: subprocess.Popen[str], tmp_path: Path, end: signal.Signals) -> None:
    busy(address(serve), tmp_path)
    children = family(serve)
    assert len(children) >= 3  # API, worker, trainer
    serve.send_signal(end)
    serve.wait(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert serve.returncode == (-signal.SIGKILL if end == signal.SIGKILL else 0)


def test_sigterm_ends_it_also_in_the_background_of_a_shell(tmp_path: Path) -> None:
    # a shell starts `command &` with SIGINT ignored
    command = f"{sys.executable} -m embedded --data-dir {tmp_path} --port 18090 & echo $!; wait"
    shell = subprocess.Popen(
        ["sh", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, **IMPATIENT}
    )
    assert shell.stdout is not None
    service = psutil.Process(int(shell.stdout.readline()))
    address(shell)
    children = service.children(recursive=True)
    service.terminate()
    shell.communicate(timeout=30)
    _, alive = psutil.wait_procs([service, *children], timeout=10)
    assert alive == []


def test_a_process_that_dies_is_started_again(serve: subprocess.Popen[str]) -> None:
    url = address(serve)
    api = next(p for p in family(serve) if "api" in p.cmdline())
    api.kill()

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    api.wait(60)
    wait_for(answers, timeout_s=60)
    assert next(p for p in family(serve) if "api" in p.cmdline()).pid != api.pid
