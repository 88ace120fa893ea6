"""Jobs whose discriminator is a server beside the trainer: through the whole service, with a scripted server."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from json import dumps
from pathlib import Path
from typing import Any

import pytest
from uniapl_client import Client, InvalidRequestError, JobFailed

from embedded.service import EmbeddedService
from tests.conftest import fresh_postgres
from tests.e2e.conftest import CHANCE, IMPATIENT, trainers, wait_for
from tests.worker.vllm.test_server import begin, behave, lives, nothing_lives, started

pytestmark = pytest.mark.integration

PROBES_MEET_IT = ["hang", "exit0", "nan"]
ANSWERS_MEET_IT = [pytest.param("html", marks=pytest.mark.faults_short), "truncated", "count", "model"]
PATIENCE_S = 900.0
"""For what takes a minute on an idle machine."""


BREAKS = pytest.mark.faults
ON_BOTH = pytest.mark.parametrize("backing", ["production", pytest.param("embedded", marks=BREAKS)], indirect=True)


@pytest.fixture
def backing(request: pytest.FixtureRequest) -> dict[str, str]:
    """SQLite and the message folder; of a test that runs on both, Postgres and Redis too."""
    if getattr(request, "param", "embedded") == "embedded":
        return {}
    return {
        "UNIAPL_DATABASE_URL": fresh_postgres(request.getfixturevalue("postgres_url")),
        "UNIAPL_BROKER_URL": request.getfixturevalue("redis_url"),
    }


@pytest.fixture
def service(tmp_path: Path, request: pytest.FixtureRequest, backing: dict[str, str]) -> Iterator[EmbeddedService]:
    """A service whose vLLM is the scripted one; a test's parameter is the wait between two probes."""
    (tmp_path / "fake").mkdir()
    breaks = request.node.get_closest_marker("faults") is not None  # some of these wait until a hang is noticed
    environment = {
        **IMPATIENT,
        **backing,
        "UNIAPL_LEASE_S": "12",  # a busy machine is no dead worker
        "UNIAPL_VLLM_COMMAND": dumps([sys.executable, "-m", "tests.worker.vllm.fake_vllm", str(tmp_path / "fake")]),
        "UNIAPL_SIDECAR_PROBE_S": "4" if breaks else "15",
        "UNIAPL_SIDECAR_PROBE_EVERY_S": str(getattr(request, "param", 0.3)),
    }
    with EmbeddedService(tmp_path / "service", environment=environment) as running:
        yield running
    wait_for(lambda: nothing_lives(tmp_path))


@pytest.fixture
def spec(client: Client) -> dict[str, Any]:
    """A UniAPL job on the tiny model, its discriminator served."""
    return {
        "student": "tiny-random-llama",
        "dataset_mix": [{"dataset": client.datasets.upload(CHANCE).id}],
        "alpha": 0.3,
        "lambda_adv": 0.01,
        "grpo": {"group_size": 4},
        "rollout": {"max_new_tokens": 12},
        "discriminator": {"type": "embedding", "backend": {"type": "vllm", "timeout_s": 4}},
        "schedule": {"steps": 8, "prompts_per_step": 2, "checkpoint_every": 4},
    }


def losses(client: Client, job_id: str) -> dict[int, float]:
    return {p.step: p.value for p in client.jobs.metrics(job_id, names=["loss"])}


def messages(client: Client, job_id: str) -> list[str]:
    return [event.message for event in client.jobs.list_events(job_id)]


def undisturbed(client: Client, spec: dict[str, Any]) -> dict[int, float]:
    """The losses of the same job on a server that does nothing wrong."""
    found = losses(client, client.jobs.create_and_wait(**spec).id)
    assert sorted(found) == list(range(1, 9))
    return found


def disturb(client: Client, spec: dict[str, Any], tmp_path: Path, mode: str, seconds: float) -> str:
    """Run the job and have the server misbehave in the middle of it; returns the job's id when it has succeeded."""
    job = client.jobs.create(**spec)
    wait_for(lambda: client.jobs.get(job.id).step >= 2, timeout_s=PATIENCE_S)
    behave(tmp_path, mode)
    wait_for(lambda: any(line.startswith(f"{mode} /v1/embeddings") for line in seen(tmp_path)), timeout_s=PATIENCE_S)
    time.sleep(seconds)
    behave(tmp_path, "ok")
    assert client.jobs.wait(job.id, timeout_s=PATIENCE_S).attempt == 1
    return job.id


def seen(tmp_path: Path) -> list[str]:
    return (tmp_path / "fake" / "seen").read_text().splitlines()


@pytest.mark.full
@ON_BOTH
def test_two_jobs_of_one_model_share_a_warm_server(client: Client, spec: dict[str, Any], tmp_path: Path) -> None:
    first = client.jobs.create(**spec)
    assert client.jobs.wait(first.id).step == 8
    texts = messages(client, first.id)
    assert any("the discriminator server (all-MiniLM-L6-v2) is ready after" in m for m in texts)
    assert {p.step for p in client.jobs.metrics(first.id, names=["disc/score_student"])} == set(range(1, 9))
    again = client.jobs.create_and_wait(**spec)
    assert again.step == 8
    assert len(started(tmp_path)) == 1


@BREAKS
@pytest.mark.parametrize("mode", PROBES_MEET_IT)
def test_a_server_that_goes_wrong_costs_nothing_but_time(
    client: Client, spec: dict[str, Any], tmp_path: Path, mode: str
) -> None:
    expected = undisturbed(client, spec)
    job_id = disturb(client, spec, tmp_path, mode, seconds=0.5)
    assert losses(client, job_id) == expected  # bit for bit: no bad score has reached a gradient
    assert any("restarting it (1 of 3)" in m for m in messages(client, job_id))


@BREAKS
@pytest.mark.parametrize("service", [1000], indirect=True)  # only the trainer encounters it
@pytest.mark.parametrize("mode", ANSWERS_MEET_IT)
def test_no_garbage_reaches_a_gradient(client: Client, spec: dict[str, Any], tmp_path: Path, mode: str) -> None:
    expected = undisturbed(client, spec)
    job_id = disturb(client, spec, tmp_path, mode, seconds=1.0)
    assert losses(client, job_id) == expected
    assert len(started(tmp_path)) == 1


@BREAKS
@pytest.mark.parametrize("service", [1000], indirect=True)
@pytest.mark.parametrize("mode", ["nan", "null"])
def test_scores_that_are_no_numbers_fail_the_job_rather_than_train_it(
    client: Client, spec: dict[str, Any], tmp_path: Path, mode: str
) -> None:
    job = client.jobs.create(**{**spec, "schedule": {**spec["schedule"], "steps": 100}})
    wait_for(lambda: client.jobs.get(job.id).step >= 2, timeout_s=PATIENCE_S)
    behave(tmp_path, mode)
    with pytest.raises(JobFailed):
        client.jobs.wait(job.id, timeout_s=PATIENCE_S)
    error = client.jobs.get(job.id).error
    assert error is not None
    assert (error.code, error.param) == ("discriminator_failed", "adversarial.max_failed_fraction")


@BREAKS
@ON_BOTH
def test_a_server_that_cannot_live_fails_the_job_with_its_log(
    client: Client, spec: dict[str, Any], tmp_path: Path
) -> None:
    begin(tmp_path, *["exit1"] * 20)
    job = client.jobs.create(**spec)
    with pytest.raises(JobFailed):
        client.jobs.wait(job.id, timeout_s=PATIENCE_S)
    found = client.jobs.get(job.id)
    assert found.error is not None
    assert (found.error.code, found.error.category, found.attempt) == ("sidecar_failed", "infra", 1)
    assert "no such architecture" in found.error.log_tail
    assert len(started(tmp_path)) == 4
    begin(tmp_path)
    assert client.jobs.create_and_wait(**spec).state == "succeeded"  # the next job gets a server of its own


@BREAKS
@pytest.mark.parametrize("service", [1000], indirect=True)
def test_a_hand_over_of_weights_that_stalls_starts_both_sides_again(
    client: Client, spec: dict[str, Any], tmp_path: Path
) -> None:
    rollout = {"max_new_tokens": 12, "sync_s": 10, "backend": {"type": "vllm"}}
    job = client.jobs.create(**{**spec, "rollout": rollout, "discriminator": {"type": "embedding"}})
    wait_for(lambda: client.jobs.get(job.id).step >= 5, timeout_s=PATIENCE_S)
    behave(tmp_path, "stall")
    wait_for(lambda: client.jobs.get(job.id).attempt == 2, timeout_s=PATIENCE_S)
    behave(tmp_path, "ok")
    assert client.jobs.wait(job.id, timeout_s=PATIENCE_S).attempt == 2
    assert len(started(tmp_path)) == 2
    assert any("resumed after step 4" in m for m in messages(client, job.id))
    left = "service/**/jobs/*/fence-*/sampler"  # twice the student's size, and no use to anybody
    wait_for(lambda: not list(tmp_path.glob(left)), timeout_s=30)  # the row becomes terminal first
    assert any("no complete reply within 10 s" in str(e.data) + e.message for e in client.jobs.list_events(job.id))


@BREAKS
@ON_BOTH
@pytest.mark.parametrize("when", ["warming", "training"])
def test_a_killed_worker_leaves_no_server_and_the_next_one_goes_on(
    service: EmbeddedService, client: Client, spec: dict[str, Any], tmp_path: Path, when: str
) -> None:
    begin(tmp_path, *(["slow"] if when == "warming" else []))
    job = client.jobs.create(**{**spec, "schedule": {**spec["schedule"], "steps": 20}})
    if when == "warming":
        wait_for(lambda: started(tmp_path) and trainers(service.data_dir), timeout_s=PATIENCE_S)
    else:
        wait_for(lambda: client.jobs.get(job.id).step >= 2, timeout_s=PATIENCE_S)
    os.kill(service.pid("worker"), signal.SIGKILL)
    wait_for(lambda: nothing_lives(tmp_path), timeout_s=60)
    wait_for(lambda: service.has_ended("worker"))
    service.restart_dead(print)
    assert client.jobs.wait(job.id, timeout_s=PATIENCE_S).attempt == 2


def test_a_job_is_cancelled_and_paused_while_its_server_starts(
    service: EmbeddedService, client: Client, spec: dict[str, Any], tmp_path: Path
) -> None:
    begin(tmp_path, "slow")
    job = client.jobs.create(**spec)
    wait_for(lambda: client.jobs.get(job.id).phase == "warming_discriminator", timeout_s=PATIENCE_S)
    client.jobs.pause(job.id)
    wait_for(lambda: client.jobs.get(job.id).state == "paused", timeout_s=60)
    client.jobs.resume(job.id)
    wait_for(
        lambda: client.jobs.get(job.id).phase == "warming_discriminator" and trainers(service.data_dir),
        timeout_s=PATIENCE_S,
    )
    client.jobs.cancel(job.id)
    wait_for(lambda: client.jobs.get(job.id).state == "cancelled", timeout_s=60)
    assert trainers(service.data_dir) == []
    assert lives(int(started(tmp_path)[0][1]))  # still warming, for the next


def test_an_address_that_the_operator_has_not_allowed_is_refused(client: Client, spec: dict[str, Any]) -> None:
    backend = {"type": "server", "url": "http://169.254.169.254"}
    with pytest.raises(InvalidRequestError, match="not allowed for discriminators") as found:
        client.jobs.create(**{**spec, "discriminator": {"type": "embedding", "backend": backend}})
    assert found.value.param == "discriminator.backend.url"
