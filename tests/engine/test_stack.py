"""What a user of `docker compose up` without a GPU does, on a real engine: `make compose-test`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from uniapl_client import Client

from tests.conftest import ROOT
from tests.e2e.conftest import CHANCE, wait_for
from tests.engine.checkout import UP, Checkout

pytestmark = pytest.mark.engine
SPEC: dict[str, Any] = {
    "alpha": 0.3,
    "lambda_adv": 0.01,
    "grpo": {"group_size": 2},
    "rollout": {"max_new_tokens": 8},
    "schedule": {"steps": 2, "prompts_per_step": 1},
}
LONG = {**SPEC, "schedule": {"steps": 400, "prompts_per_step": 1, "checkpoint_every": 5}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """The stack that the README starts, from a checkout made under umask 077."""
    done = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"no container engine answers: {done.stderr}"
    with Checkout(tmp_path_factory.mktemp("checkout")) as checkout:
        checkout.run("make secrets")
        checkout.run(UP)
        yield checkout


@pytest.fixture(scope="module")
def key(stack: Checkout) -> str:
    return stack.key()


@pytest.fixture
def client(stack: Checkout, key: str) -> Iterator[Client]:
    with stack.client(key) as client:
        yield client


@pytest.mark.parametrize("image", ["uniapl-api:compose-test", "uniapl-worker:compose-test"])
def test_every_file_of_an_image_is_readable_by_its_user(stack: Checkout, image: str) -> None:
    assert stack.unreadable(image) == []


@pytest.mark.parametrize("student", ["tiny-random-llama", "SmolLM2-135M-Instruct"])
def test_a_job_on_a_bundled_model_succeeds(client: Client, student: str, tmp_path: Path) -> None:
    dataset = client.datasets.upload(CHANCE)
    job = client.jobs.create(**SPEC, student=student, dataset_mix=[{"dataset": dataset.id}])
    done = client.jobs.wait(job.id, timeout_s=900)
    assert (done.state, done.attempt) == ("succeeded", 1)
    client.checkpoints.download(client.jobs.checkpoints(job.id)[0].id, tmp_path / "model")
    with safe_open(tmp_path / "model" / "model.safetensors", framework="numpy") as weights:
        assert {"model.embed_tokens.weight"} <= set(weights.keys())


def test_the_documented_restore_continues_a_paused_job(stack: Checkout, key: str, client: Client) -> None:
    dataset = client.datasets.upload(CHANCE)
    job = client.jobs.create(**LONG, student="tiny-random-llama", dataset_mix=[{"dataset": dataset.id}])
    wait_for(lambda: client.jobs.get(job.id).step >= 3, timeout_s=300)
    client.jobs.pause(job.id)
    wait_for(lambda: client.jobs.get(job.id).state == "paused", timeout_s=120)
    step = client.jobs.get(job.id).step

    back_up, restore = documented("## Backup and restore")
    stack.run(back_up)
    stack.run("docker compose down --volumes")
    stack.run(restore)

    with stack.client(key) as restored:  # the key of before: the database and the secret key are there
        assert (restored.jobs.get(job.id).state, restored.jobs.get(job.id).step) == ("paused", step)
        restored.jobs.resume(job.id)
        wait_for(lambda: restored.jobs.get(job.id).step > step, timeout_s=300)
        resumed = f"resumed after step {step}"
        assert resumed in [event.message for event in restored.jobs.list_events(job.id)]
        restored.jobs.cancel(job.id)


def documented(heading: str) -> list[str]:
    """The indented blocks of commands in a section of docs/operate.md."""
    section = (ROOT / "docs" / "operate.md").read_text().split(f"{heading}\n")[1].split("\n## ")[0]
    return re.findall(r"(?:^    .+\n)+", section, re.MULTILINE)
