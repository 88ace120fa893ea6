"""What the SDK and the command line add to the plain requests, against live processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from uniapl_client import AsyncClient, Client, Job, StateChanged

from embedded.service import EmbeddedService
from tests.conftest import ROOT
from tests.e2e.conftest import wait_for

BOTH = ["embedded", pytest.param("production", marks=pytest.mark.faults)]  # the database is nothing to a client
pytestmark = [pytest.mark.integration, pytest.mark.parametrize("service", BOTH, indirect=True, scope="module")]


def test_the_async_client_drives_a_job_to_a_checkpoint(
    service: EmbeddedService, spec: dict[str, Any], tmp_path: Path
) -> None:
    async def drive() -> Job:
        async with AsyncClient(service.url, api_key=service.api_key) as client:
            job = await client.jobs.create(**spec)
            events = [event async for event in client.jobs.stream(job.id)]
            states = [event.state for event in events if isinstance(event, StateChanged)]
            assert states == ["queued", "starting", "running", "finalizing", "succeeded"]
            assert [e.id async for e in client.jobs.events(job.id, after=10**6)] == [e.id for e in events]  # a reset
            assert job.id in [listed.id async for listed in client.jobs.list()]
            assert len(await client.jobs.metrics(job.id, names=["loss"], max_points=2)) == 2
            log = await client.jobs.logs(job.id)
            assert await client.jobs.logs(job.id, start=3, end=9) == log[3:9]
            assert await client.jobs.logs(job.id, start=len(log)) == b""
            assert b"".join([piece async for piece in client.jobs.follow_logs(job.id)]) == log
            newest = (await client.jobs.checkpoints(job.id))[0]
            await client.checkpoints.download(newest.id, tmp_path)
            return await client.jobs.wait(job.id)

    done = anyio.run(drive)
    assert (done.state, done.step) == ("succeeded", 4)
    assert (tmp_path / "model.safetensors").exists()


def test_create_and_wait_tells_what_happens(client: Client, spec: dict[str, Any]) -> None:
    reported: list[int] = []
    job = client.jobs.create_and_wait(**spec, timeout_s=120, on_event=lambda event: reported.append(event.id))
    assert job.state == "succeeded"
    assert reported == [event.id for event in client.jobs.list_events(job.id)]


@pytest.mark.full
def test_a_request_that_outlives_the_api_makes_one_job(
    service: EmbeddedService, client: Client, spec: dict[str, Any]
) -> None:
    before = len(list(client.jobs.list()))
    key = str(uuid4())
    os.kill(service.pid("api"), signal.SIGKILL)
    wait_for(lambda: service.has_ended("api"))
    made: list[str] = []
    thread = threading.Thread(target=lambda: made.append(client.jobs.create(**spec, idempotency_key=key).id))
    thread.start()
    time.sleep(0.5)
    service.restart_dead(print)
    thread.join(timeout=60)
    assert [client.jobs.create(**spec, idempotency_key=key).id] == made
    assert len(list(client.jobs.list())) == before + 1
    client.jobs.wait(made[0])


@pytest.mark.full
def test_the_command_line_follows_draws_and_downloads(
    service: EmbeddedService, client: Client, spec: dict[str, Any], tmp_path: Path
) -> None:
    keyed = {**os.environ, "UNIAPL_URL": service.url, "UNIAPL_API_KEY": service.api_key or ""}

    def uniapl(*arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("uniapl")), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=90, env=keyed, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec))
    lines = [json.loads(line) for line in uniapl("submit", str(path), "--watch", "--json").splitlines()]
    job_id = lines[0]["id"]
    assert [line["id"] for line in lines[1:-1]] == [event.id for event in client.jobs.list_events(job_id)]
    assert lines[-1]["state"] == "succeeded"
    assert uniapl("logs", "-f", job_id).encode() == client.jobs.logs(job_id)
    assert "loss  (last" in uniapl("metrics", job_id, "--plot")
    assert uniapl("download", job_id, str(tmp_path / "model")).startswith("ckpt_")
    assert (tmp_path / "model" / "config.json").exists()
