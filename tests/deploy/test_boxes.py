"""Two machines that share Postgres, Redis and a bucket, and no disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from uniapl_client import Client

from tests.deploy.conftest import Config
from tests.deploy.stack import Stack
from tests.e2e.conftest import CHANCE, wait_for

pytestmark = pytest.mark.integration

SPEC: dict[str, Any] = {
    "student": "tiny-random-llama",
    "alpha": 1.0,
    "lambda_adv": 0.0,
    "schedule": {"steps": 40, "prompts_per_step": 2, "checkpoint_every": 5},
}


@pytest.fixture
def stack(bucket: str, tmp_path_factory: pytest.TempPathFactory, everything: Config) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("s"), everything, UNIAPL_ARTIFACTS_URL=bucket) as running:
        yield running


def test_a_job_paused_on_one_box_goes_on_on_another(stack: Stack, tmp_path: Path) -> None:
    stack.start("migrate").wait(60)
    with stack.start_all() as client:
        dataset = client.datasets.upload(CHANCE)
        stack.start("worker", "first", UNIAPL_DATA_DIR=str(tmp_path / "first"))
        job = client.jobs.create(**SPEC, dataset_mix=[{"dataset": dataset.id, "role": "sft"}])
        wait_for(lambda: client.jobs.get(job.id).step >= 6, timeout_s=300)
        client.jobs.pause(job.id)
        wait_for(lambda: client.jobs.get(job.id).state == "paused", timeout_s=60)
        paused_at = client.jobs.get(job.id).step
        stack.processes["first"].terminate()
        stack.processes["first"].wait(60)

        stack.start("worker", "second", UNIAPL_DATA_DIR=str(tmp_path / "second"))
        client.jobs.resume(job.id)
        done = client.jobs.wait(job.id, timeout_s=300)
        assert (done.step, done.attempt) == (40, 2)
        assert f"resumed after step {paused_at}" in [event.message for event in client.jobs.list_events(job.id)]
        assert [point.step for point in client.jobs.metrics(job.id, names=["loss"])] == list(range(1, 41))
        assert not list((tmp_path / "second" / "jobs").glob("*/fence-1/reports.jsonl"))  # they share no disk
        read_back(client, stack, job.id, tmp_path)


def read_back(client: Client, stack: Stack, job_id: str, tmp_path: Path) -> None:
    """The API, on a disk of its own, hands out checkpoints and logs, and deletes for everybody."""
    newest, *older = client.jobs.checkpoints(job_id)
    folder = client.checkpoints.download(newest.id, tmp_path / "model")
    for file in newest.files:
        if (folder / file.name).exists():
            assert hashlib.sha256((folder / file.name).read_bytes()).hexdigest() == file.sha256
    assert (folder / "model.safetensors").exists()
    assert not list(stack.data_dir.glob("jobs/*/*/checkpoints"))  # streamed, not copied
    for attempt in (1, 2):
        log = client.jobs.logs(job_id, attempt=attempt)
        assert b"torch" in log
        assert client.jobs.logs(job_id, attempt=attempt, start=3, end=10) == log[3:10]
        assert client.jobs.logs(job_id, attempt=attempt, start=-5) == log[-5:]
    client.checkpoints.delete(older[-1].id)
    assert older[-1].id not in {found.id for found in client.jobs.checkpoints(job_id)}
