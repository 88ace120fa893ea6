"""A real job from file to downloaded weights, by each client: OpenAI's own, and ours in both forms."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest
from uniapl_client import AsyncClient, Client

from embedded.service import EmbeddedService
from tests.e2e.conftest import CHANCE

pytestmark = pytest.mark.contract


def test_the_official_openai_client_trains_a_model(
    service: EmbeddedService, client: Client, spec: dict[str, Any], tmp_path: Path
) -> None:
    options = {name: value for name, value in spec.items() if name not in ("student", "dataset_mix", "evaluation")}
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.api_key or "none") as theirs:
        with CHANCE.open("rb") as rows:
            file = theirs.files.create(file=rows, purpose="fine-tune")
        method: Any = {"type": "uniapl", "uniapl": options}
        job = theirs.fine_tuning.jobs.create(
            model="tiny-random-llama", training_file=file.id, validation_file=file.id, method=method, suffix="theirs"
        )
        deadline = time.monotonic() + 120
        while job.status not in ("succeeded", "failed", "cancelled") and time.monotonic() < deadline:
            time.sleep(0.5)
            job = theirs.fine_tuning.jobs.retrieve(job.id)
        assert (job.status, job.error) == ("succeeded", None)
        messages = [event.message for event in theirs.fine_tuning.jobs.list_events(job.id)]
        assert (messages[0], messages[-1]) == ("job is succeeded", "job is queued")
        saved = list(theirs.fine_tuning.jobs.checkpoints.list(job.id))
        assert [checkpoint.step_number for checkpoint in saved] == [4, 2]
        assert saved[0].metrics.train_loss is not None
        assert job.fine_tuned_model == saved[0].fine_tuned_model_checkpoint
    folder = client.checkpoints.download(job.fine_tuned_model, tmp_path)
    assert json.loads((folder / "spec.json").read_text())["name"] == "theirs"


def test_our_client_trains_a_model(client: Client, spec: dict[str, Any], tmp_path: Path) -> None:
    dataset = client.datasets.upload(CHANCE)
    job = client.jobs.create_and_wait(**{**spec, "dataset_mix": [{"dataset": dataset.id}]}, timeout_s=120)
    assert (job.state, job.step, job.error) == ("succeeded", 4, None)
    newest = client.jobs.checkpoints(job.id)[0]
    assert (client.checkpoints.download(newest.id, tmp_path) / "model.safetensors").exists()


def test_our_async_client_trains_a_model(service: EmbeddedService, spec: dict[str, Any], tmp_path: Path) -> None:
    async def train() -> None:
        async with AsyncClient(service.url, api_key=service.api_key) as client:
            dataset = await client.datasets.upload(CHANCE)
            fields = {**spec, "dataset_mix": [{"dataset": dataset.id}]}
            job = await client.jobs.create_and_wait(**fields, timeout_s=120)
            assert (job.state, job.step, job.error) == ("succeeded", 4, None)
            newest = (await client.jobs.checkpoints(job.id))[0]
            assert (await client.checkpoints.download(newest.id, tmp_path) / "model.safetensors").exists()

    anyio.run(train)
