"""What a user of `docker compose up` without a GPU does, on a real engine: `make compose-test`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from uniapl_client import Client, InvalidRequestError

from tests.conftest import ROOT
from tests.e2e.conftest import CHANCE, wait_for
from tests.engine import jobs
from tests.engine.checkout import Checkout
from tests.engine.conftest import SPEC

pytestmark = pytest.mark.engine

SERVICES = ("api", "worker")
WRITABLE = {"api": {"/data", "/tmp"}, "worker": {"/data", "/tmp", "/hub"}}


SMALLEST = pytest.param("tiny-random-llama", marks=pytest.mark.engine_short)


@pytest.mark.parametrize("student", [SMALLEST, "SmolLM2-135M-Instruct"])
def test_a_job_on_a_bundled_model_succeeds_and_is_downloaded(client: Client, student: str, tmp_path: Path) -> None:
    dataset = client.datasets.upload(CHANCE)
    job = client.jobs.create(**{**SPEC, "student": student}, dataset_mix=[{"dataset": dataset.id}])
    done = client.jobs.wait(job.id, timeout_s=900)
    assert (done.state, done.attempt) == ("succeeded", 1)
    client.checkpoints.download(client.jobs.checkpoints(job.id)[0].id, tmp_path / "model")
    with safe_open(tmp_path / "model" / "model.safetensors", framework="numpy") as weights:
        assert {"model.embed_tokens.weight"} <= set(weights.keys())


@pytest.mark.parametrize("student", [SMALLEST, "SmolLM2-135M-Instruct"])
def test_an_estimate_reads_shapes_and_tokenizers_in_the_image_of_the_api(client: Client, student: str) -> None:
    dataset = client.datasets.upload(CHANCE)
    found = client.jobs.estimate(**{**SPEC, "student": student}, dataset_mix=[{"dataset": dataset.id}])
    assert found.tokens_counted_by == "tokenizer"
    assert found.memory is not None
    assert {"weights", "optimizer", "activations", "discriminator"} <= set(found.memory.parts)
    assert found.memory.parts["discriminator"].low > 80e6  # of the default, all-MiniLM-L6-v2
    assert found.verdict == "fits", found.reasons
    shown = client.jobs.validate(**{**SPEC, "student": student}, dataset_mix=[{"dataset": dataset.id}])
    assert shown.rendered is not None, shown.warnings
    assert shown.rendered.trained


def test_a_job_that_the_worker_cannot_hold_is_refused(client: Client) -> None:
    dataset = client.datasets.upload(CHANCE)
    huge = {  # keys and values of 131,072 sequences sampled at once: 600 GB
        "student": "SmolLM2-135M-Instruct",
        "grpo": {"group_size": 256},
        "rollout": {"max_new_tokens": 8, "batch_size": 150_000},
        "schedule": {"steps": 2, "prompts_per_step": 512},
    }
    with pytest.raises(InvalidRequestError) as refused:
        client.jobs.create(**{**SPEC, **huge}, dataset_mix=[{"dataset": dataset.id}])
    assert refused.value.code == "does_not_fit"


@pytest.mark.engine_short
@pytest.mark.parametrize("service", SERVICES)
def test_a_process_has_no_privilege_and_a_root_that_it_cannot_write(stack: Checkout, service: str) -> None:
    status = dict(re.findall(r"^(\w+):\t(\S+)", stack.in_container(service, "cat /proc/1/status"), re.MULTILINE))
    assert (status["Uid"], status["Gid"], status["NoNewPrivs"]) == ("10001", "10001", "1")
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {0}
    places = "/ /app /app/.venv /etc /home /usr/local /data /tmp /hub"
    attempt = f"for place in {places}; do (: > $place/.attempt) 2>/dev/null && rm $place/.attempt && echo $place; done"
    assert set(stack.in_container(service, attempt).split()) == WRITABLE[service]


def test_a_worker_stopped_in_the_middle_of_a_job_continues_it(stack: Checkout, client: Client) -> None:
    job_id = jobs.start(client, steps=40)
    stack.run("docker compose stop worker")
    step = client.jobs.get(job_id).step
    assert client.jobs.get(job_id).state == "queued"
    assert step < 40
    stack.run("docker compose up -d --wait worker")
    done = client.jobs.wait(job_id, timeout_s=300)
    assert (done.state, done.step, done.attempt) == ("succeeded", 40, 2)
    assert jobs.resumptions(client, job_id) == [step]


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_whose_processes_are_killed_is_restarted_and_the_job_succeeds(
    stack: Checkout, client: Client, service: str
) -> None:
    job_id = jobs.start(client, steps=60)
    container = stack.run(f"docker compose ps --quiet {service}").strip()
    restarts = f"docker inspect --format '{{{{.RestartCount}}}} {{{{.State.Health.Status}}}}' {container}"
    before = int(stack.run(restarts).split()[0])
    stack.in_container(service, "kill -9 -1")
    wait_for(lambda: stack.run(restarts).split() == [str(before + 1), "healthy"], timeout_s=120)
    done = client.jobs.wait(job_id, timeout_s=400)
    assert (done.state, done.step, done.attempt) == ("succeeded", 60, 2 if service == "worker" else 1)


@pytest.mark.parametrize("service", ["postgres", "redis"])
def test_a_killed_server_is_started_again_and_the_job_succeeds(stack: Checkout, client: Client, service: str) -> None:
    job_id = jobs.start(client, steps=60)
    stack.run(f"docker compose kill {service}")
    stack.run("docker compose up -d --wait")
    done = client.jobs.wait(job_id, timeout_s=400)
    assert (done.state, done.step) == ("succeeded", 60)


def test_the_documented_restore_continues_a_paused_job(stack: Checkout, key: str, client: Client) -> None:
    job_id = jobs.start(client, steps=400)
    step = jobs.pause(client, job_id)

    back_up, restore = documented("## Backup and restore")
    stack.run(back_up)
    logs = log_lines(stack)
    stack.run("docker compose down --volumes")
    stack.run(restore)

    with stack.client(key) as restored:  # the key of before: the database and the secret key are there
        assert (restored.jobs.get(job_id).state, restored.jobs.get(job_id).step) == ("paused", step)
        restored.jobs.resume(job_id)
        wait_for(lambda: restored.jobs.get(job_id).step > step, timeout_s=300)
        assert step in jobs.resumptions(restored, job_id)
        restored.jobs.cancel(job_id)

    assert {service for service, _ in logs} == {"api", "worker", "migrate"}
    assert [line for service, line in logs if not is_json(line)] == []


def documented(heading: str) -> list[str]:
    """The indented blocks of commands in a section of docs/operate.md."""
    section = (ROOT / "docs" / "operate.md").read_text().split(f"{heading}\n")[1].split("\n## ")[0]
    return re.findall(r"(?:^    .+\n)+", section, re.MULTILINE)


def log_lines(stack: Checkout) -> list[tuple[str, str]]:
    """Every line that the containers of the images have logged, with the name of the service."""
    services = ("api", "worker", "migrate")
    logs = {name: stack.run(f"docker compose logs --no-color --no-log-prefix {name}") for name in services}
    return [(name, line) for name, log in logs.items() for line in log.splitlines() if line.strip()]


def is_json(line: str) -> bool:
    """Whether a log line is an object with a level, a logger and a message."""
    try:
        record: Any = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and {"level", "logger", "message", "time"} <= set(record)
