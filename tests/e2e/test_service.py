"""The SDK against live processes, on both kinds of database and broker."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from uniapl_client import Client, ConflictError, InvalidRequestError, JobFailed, NotFoundError

from embedded.service import EmbeddedService
from tests.conftest import ROOT
from tests.e2e.conftest import trainers, wait_for
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.integration

LONG = {"steps": 500, "prompts_per_step": 2, "checkpoint_every": 3}
KINDS = [pytest.param("production", marks=pytest.mark.full), pytest.param("embedded", marks=pytest.mark.faults)]
SLOW = pytest.mark.parametrize("service", KINDS, indirect=True, scope="module")
"""A minute on each kind: on the second by `make faults`."""


def test_a_job_from_upload_to_a_model_that_answers(client: Client, spec: dict[str, Any], tmp_path: Path) -> None:
    job = client.jobs.create(**spec)
    followed = list(client.jobs.events(job.id))  # live, until the job finishes
    done = client.jobs.wait(job.id)
    assert (done.state, done.step, done.attempt, done.error) == ("succeeded", 4, 1, None)
    assert [e.data["state"] for e in followed if e.type == "state"] == [
        "queued",
        "starting",
        "running",
        "finalizing",
        "succeeded",
    ]
    assert [e.id for e in followed] == list(range(1, len(followed) + 1))

    numbers = {(p.name, p.step): p.value for p in client.jobs.metrics(job.id)}
    for step in (1, 2, 3, 4):
        for term in ("sft", "grpo", "adv"):
            assert (f"uniapl/loss_{term}", step) in numbers
    assert numbers["eval/reference_logprob", 4] > numbers["eval/reference_logprob", 0]
    assert {s.step for s in client.jobs.samples(job.id)} == {0, 4}

    newest = client.jobs.checkpoints(job.id)[0]
    assert newest.step == 4
    folder = client.checkpoints.download(newest.id, tmp_path / "model")
    assert not (folder / "optimizer.safetensors").exists()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer("hello")["input_ids"]])
    assert model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=3).shape[1] > ids.shape[1]
    saved = JobSpec.model_validate_json((folder / "spec.json").read_text())
    assert done.started_at is not None
    day = datetime.fromtimestamp(done.started_at, UTC).date()
    assert saved == done.spec.with_backend(vllm=False).with_date(day)


@pytest.mark.full
def test_a_worker_killed_in_the_middle_loses_nothing_but_time(
    service: EmbeddedService, client: Client, spec: dict[str, Any]
) -> None:
    schedule = {"steps": 40, "prompts_per_step": 2, "checkpoint_every": 2}
    job = client.jobs.create(**{**spec, "schedule": schedule, "evaluation": None})
    wait_for(lambda: client.jobs.get(job.id).step >= 3)
    os.kill(service.pid("worker"), signal.SIGKILL)
    wait_for(lambda: not trainers(service.data_dir), timeout_s=10)  # the trainer dies with its worker
    before = client.jobs.get(job.id)
    wait_for(lambda: service.has_ended("worker"))
    service.restart_dead(print)

    done = client.jobs.wait(job.id, timeout_s=300)
    assert before.state == "running"
    assert (done.step, done.attempt) == (40, 2)
    messages = [e.message for e in client.jobs.list_events(job.id)]
    resumed = next(m for m in messages if m.startswith("resumed after step"))
    assert int(resumed.split()[-1]) >= 2
    losses = [p.step for p in client.jobs.metrics(job.id, names=["loss"])]
    assert losses == list(range(1, 41))  # every step once, none missing


@SLOW
def test_an_altered_checkpoint_is_refused_and_the_one_before_it_used(
    service: EmbeddedService, client: Client, spec: dict[str, Any]
) -> None:
    schedule = {"steps": 40, "prompts_per_step": 2, "checkpoint_every": 4, "keep_checkpoints": 20}  # all of them
    job = client.jobs.create(**{**spec, "schedule": schedule, "evaluation": None})
    wait_for(lambda: len(client.jobs.checkpoints(job.id)) >= 2)
    os.kill(service.pid("worker"), signal.SIGKILL)
    wait_for(lambda: service.has_ended("worker") and not trainers(service.data_dir), timeout_s=10)
    newest, older, *_ = client.jobs.checkpoints(job.id)
    weights = (
        service.data_dir / "jobs" / job.id / "fence-1" / "checkpoints" / f"step-{newest.step:08d}" / "model.safetensors"
    )
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    service.restart_dead(print)

    done = client.jobs.wait(job.id, timeout_s=300)
    assert (done.step, done.attempt) == (40, 3)
    messages = [e.message for e in client.jobs.list_events(job.id)]
    assert any("model.safetensors is torn or altered" in m for m in messages)
    assert f"resumed after step {older.step}" in messages
    assert newest.id not in {c.id for c in client.jobs.checkpoints(job.id)}


def test_cancelling_a_running_job_kills_its_trainer_first(
    service: EmbeddedService, client: Client, spec: dict[str, Any]
) -> None:
    job = client.jobs.create(**{**spec, "schedule": LONG, "evaluation": None})
    wait_for(lambda: client.jobs.get(job.id).step >= 1)
    assert client.jobs.cancel(job.id).cancel_requested
    wait_for(lambda: client.jobs.get(job.id).state == "cancelled", timeout_s=15)
    assert trainers(service.data_dir) == []
    with pytest.raises(JobFailed, match="cancelled"):
        client.jobs.wait(job.id)


@SLOW
def test_a_stopping_worker_gives_its_job_back_and_another_goes_on(
    service: EmbeddedService, client: Client, spec: dict[str, Any]
) -> None:
    job = client.jobs.create(**{**spec, "schedule": {**LONG, "steps": 40}, "evaluation": None})
    wait_for(lambda: client.jobs.get(job.id).step >= 1)
    os.kill(service.pid("worker"), signal.SIGTERM)
    given_back = wait_for(lambda: (j := client.jobs.get(job.id)).state in ("queued", "succeeded") and j)
    assert given_back.state == "queued"
    wait_for(lambda: service.has_ended("worker"))
    service.restart_dead(print)
    done = client.jobs.wait(job.id, timeout_s=300)
    assert (done.step, done.attempt) == (40, 2)
    assert [p.step for p in client.jobs.metrics(job.id, names=["loss"])] == list(range(1, 41))


def test_a_job_that_fails_in_the_child_says_why_and_shows_its_log(client: Client, spec: dict[str, Any]) -> None:
    job = client.jobs.create(**{**spec, "data": {"max_prompt_tokens": 2}})
    with pytest.raises(JobFailed) as caught:
        client.jobs.wait(job.id, timeout_s=60)
    error = caught.value.job.error
    assert error is not None
    assert (error.code, error.category, error.param) == ("invalid_dataset", "user", "data")
    assert "none of 8 rows" in error.message
    assert error.hint == "raise the limits, or use shorter rows"
    assert "none of 8 rows" in error.log_tail
    assert caught.value.job.attempt == 1


@SLOW
def test_a_trainer_that_keeps_dying_is_not_tried_for_ever(
    service: EmbeddedService, client: Client, spec: dict[str, Any]
) -> None:
    job = client.jobs.create(**{**spec, "schedule": {**LONG, "checkpoint_every": 500}, "evaluation": None})
    for attempt in (1, 2, 3):
        process = wait_for(lambda: trainers(service.data_dir))[0]
        wait_for(lambda n=attempt: (j := client.jobs.get(job.id)).state == "running" and j.attempt == n)
        process.kill()
        wait_for(lambda n=attempt: (j := client.jobs.get(job.id)).attempt > n or j.state in ("retry_wait", "failed"))
    with pytest.raises(JobFailed) as caught:
        client.jobs.wait(job.id, timeout_s=30)
    error = caught.value.job.error
    assert error is not None
    assert error.code == "no_progress"
    assert "killed by SIGKILL" in error.message


def test_errors_reach_the_caller_typed(client: Client, spec: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.jobs.create(**{**spec, "student": "no-such-model"})
    assert (caught.value.status_code, caught.value.param) == (422, "student")
    with pytest.raises(NotFoundError):
        client.jobs.get("job_nope")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n{"x": 1}\n')
    with pytest.raises(InvalidRequestError) as refused:
        client.datasets.upload(bad)
    assert refused.value.errors[0]["line"] == 2
    finished = next(job for job in client.jobs.list() if job.state == "succeeded")
    with pytest.raises(ConflictError):
        client.jobs.cancel(finished.id)


def test_the_command_line_submits_watches_and_shows(
    service: EmbeddedService, spec: dict[str, Any], tmp_path: Path
) -> None:
    import subprocess
    import sys

    keyed = {**os.environ, "UNIAPL_API_KEY": service.api_key or ""}

    def uniapl(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("uniapl")), "--url", service.url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=90, env=keyed)

    path = tmp_path / "spec.json"
    by_path = {**spec, "dataset_mix": [{"dataset": "examples/data/chance.jsonl"}], "name": "from the shell"}
    path.write_text(json.dumps(by_path))
    submitted = uniapl("submit", str(path), "--watch")
    assert submitted.returncode == 0, submitted.stderr
    job_id = submitted.stdout.split()[0]
    assert "step    4" in submitted.stdout
    assert "succeeded" in submitted.stdout
    assert f"{job_id}" in uniapl("jobs").stdout
    shown = uniapl("show", job_id).stdout
    for expected in ("job is succeeded", "uniapl/loss_adv", "ckpt_"):
        assert expected in shown
    refused = uniapl("cancel", job_id)
    assert refused.returncode == 1
    assert "cannot be cancelled" in refused.stderr

    path.write_text(json.dumps({**by_path, "alpha": 2}))
    invalid = uniapl("submit", str(path))
    assert invalid.returncode == 1
    assert "alpha: Input should be less than or equal to 1" in invalid.stderr
