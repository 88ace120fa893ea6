"""OpenAI's own client with `/v1/fine_tuning/jobs`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from store.checkpoints import repository as checkpoints
from store.db import unit_of_work
from store.jobs import lifecycle, metrics
from store.settings import Settings
from tests.api.conftest import ROW
from tests.api.server import Server
from tests.store.jobs.factories import claimed

pytestmark = pytest.mark.integration


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    models = tmp_path / "models.json"
    known = {"tiny": {"kind": "student", "path": "t"}, "all-MiniLM-L6-v2": {"kind": "discriminator", "path": "m"}}
    models.write_text(json.dumps(known))
    with Server(Settings(data_dir=tmp_path, database_url=database_url, models_file=models, hub_models=[])) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        yield client


@pytest.fixture
def file(server: Server) -> str:
    body = "\n".join([json.dumps(ROW)] * 10)
    answer = httpx.post(f"{server.url}/datasets", headers=server.headers, content=body, trust_env=False)
    return str(answer.json()["id"])


def create(client: openai.OpenAI, file: str, **options: Any) -> Any:
    return client.fine_tuning.jobs.create(model="tiny", training_file=file, **options)


def native(server: Server, job_id: str) -> Any:
    return httpx.get(f"{server.url}/jobs/{job_id}", headers=server.headers, trust_env=False).json()


def test_our_own_method_passes_through(server: Server, client: openai.OpenAI, file: str) -> None:
    method: Any = {"type": "uniapl", "uniapl": {"alpha": 0.4, "schedule": {"steps": 7}}}
    job = create(client, file, method=method, suffix="mine", seed=3, metadata={"team": "a"})
    assert (job.object, job.status, job.model, job.training_file) == ("fine_tuning.job", "queued", "tiny", file)
    assert (job.seed, job.metadata, job.error) == (3, {"team": "a"}, None)
    spec = native(server, job.id)["spec"]
    assert (spec["alpha"], spec["schedule"]["steps"], spec["name"], spec["seed"]) == (0.4, 7, "mine", 3)
    assert client.fine_tuning.jobs.retrieve(job.id).model_extra == {
        "uniapl": {"state": "queued", "step": 0, "steps": 7, "phase": None}
    }


@pytest.mark.parametrize(("type_", "alpha", "role"), [("supervised", 1.0, "sft"), ("reinforcement", 0.0, "rl")])
def test_their_methods_are_modes_of_ours(
    server: Server, client: openai.OpenAI, file: str, type_: str, alpha: float, role: str
) -> None:
    hyperparameters = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 2.0}
    method: Any = {"type": type_, type_: {"hyperparameters": hyperparameters}}
    job = create(client, file, method=method)
    assert job.method.type == type_
    spec = native(server, job.id)["spec"]
    assert (spec["alpha"], spec["lambda_adv"], spec["dataset_mix"][0]["role"]) == (alpha, 0.0, role)
    # Ten rows, twice, by fours: five steps.
    assert (spec["schedule"]["steps"], spec["schedule"]["prompts_per_step"]) == (5, 4)
    usual: Any = {"type": type_, type_: {"hyperparameters": {"batch_size": 4}}}
    rate = native(server, create(client, file, method=usual).id)["spec"]["optimizer"]["learning_rate"]
    assert rate == (2e-5 if type_ == "supervised" else 1e-6)
    assert spec["optimizer"]["learning_rate"] == pytest.approx(2 * rate)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"method": {"type": "uniapl", "uniapl": {"alpha": 2}}}, "method.uniapl.alpha"),
        ({"method": {"type": "dpo"}}, "method.type"),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {"type": "string_check"}}}}, "grader"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
        ({"training_file": "file-none"}, "training_file"),
        ({"model": "nobody/has-this"}, "student"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    client: openai.OpenAI, file: str, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.fine_tuning.jobs.create(**{"model": "tiny", "training_file": file, **options})
    assert param in (refused.value.param or "")
    assert refused.value.code in ("invalid_spec", "invalid_request")


def test_jobs_are_listed_page_by_page_and_by_metadata(client: openai.OpenAI, file: str) -> None:
    made = [create(client, file, metadata={"n": str(i % 2)}).id for i in range(5)]
    assert [job.id for job in client.fine_tuning.jobs.list(limit=2)] == made[::-1]
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"n": "1"})] == [made[3], made[1]]


def test_a_job_is_paused_resumed_and_cancelled(client: openai.OpenAI, file: str) -> None:
    job = create(client, file)
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"  # type: ignore[comparison-overlap]
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.ConflictError) as over:
        client.fine_tuning.jobs.pause(job.id)
    assert over.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.retrieve("job_none")


def test_events_are_listed_newest_first(client: openai.OpenAI, file: str) -> None:
    job = create(client, file)
    client.fine_tuning.jobs.pause(job.id)
    client.fine_tuning.jobs.resume(job.id)
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=2))
    assert [event.message for event in events] == ["job is queued", "job is paused", "job is queued"]
    assert len({event.id for event in events}) == 3


def test_checkpoints_carry_the_numbers_of_their_step(server: Server, client: openai.OpenAI, file: str) -> None:
    job = create(client, file)
    claim = claimed(server.engine, job.id)
    artifacts = server.app.state.service.artifacts
    with unit_of_work(server.engine) as session:
        metrics.put_metrics(session, job.id, 1, [("loss", 2, 0.5), ("eval/reward", 2, 0.25), ("loss", 4, 0.4)])
        for step in (2, 4):
            folder = artifacts.checkpoints(job.id, 1) / f"step-{step:08d}"
            folder.mkdir(parents=True)
            (folder / "manifest.json").write_text('{"files": {}}')
            path = str(folder.relative_to(artifacts.root))
            checkpoints.commit(session, job.id, claim.fence, step=step, path=path, manifest_sha256="0", size=1)
    found = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert [checkpoint.step_number for checkpoint in found] == [4, 2]
    assert (found[1].metrics.train_loss, found[1].metrics.model_extra) == (0.5, {"eval/reward": 0.25, "loss": 0.5})
    with unit_of_work(server.engine) as session:
        lifecycle.request_cancel(session, job.id)
