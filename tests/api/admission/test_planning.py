"""Validation and estimate of a job before it is queued, and refusal of jobs that no worker can hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from sqlalchemy import event, update
from uniapl_client import Client
from uniapl_client.cli import main

from api import worker_cache
from api.main import create_app
from store import workers
from store.db import now, unit_of_work
from store.settings import Settings
from store.tables import Worker
from tests.api.conftest import ROW, new_key, upload
from tests.api.routes.test_jobs import body, engine_of, without
from tests.api.server import Server
from tests.conftest import MODELS, ROOT
from uniapl.estimate import plan
from uniapl.estimate.plan import least
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.integration

GB = 10**9
EVIL = {"type": "server", "url": "http://evil.test"}
SMALL = {"rollout": {"max_new_tokens": 16}, "schedule": {"prompts_per_step": 2, "steps": 3}, "grpo": {"group_size": 2}}


@pytest.fixture
def real(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The application with the bundled models, whose files can be read; a worker is seen at once."""
    monkeypatch.setattr(worker_cache, "MAX_AGE_S", 0.0)
    registry = {
        "tiny": {"kind": "student", "path": str(MODELS / "tiny-random-llama")},
        "smol": {"kind": "student", "path": str(MODELS / "smollm2-135m-instruct")},
        "all-MiniLM-L6-v2": {"kind": "discriminator", "path": str(MODELS / "all-minilm-l6-v2")},
    }
    (tmp_path / "models.json").write_text(json.dumps(registry))
    settings = Settings(data_dir=tmp_path, database_url=database_url, models_file=tmp_path / "models.json")
    with TestClient(create_app(settings)) as client:
        client.headers["authorization"] = f"Bearer {new_key(client)}"
        yield client


def worker(client: TestClient, memory: float, name: str = "worker_a", gpu: float | None = None, **changes: Any) -> None:
    """Report a live worker with this memory in gigabytes."""
    gpus = [{"name": "G", "memory_bytes": int(gpu * GB)}] if gpu else []
    facts = {"host": "h", "cpus": 2, "memory_bytes": int(memory * GB), "gpus": gpus, "slots": 1, "version": "0"}
    with unit_of_work(engine_of(client)) as session:
        workers.report(session, name, {**facts, **changes}, 90)


def train_rows(client: TestClient) -> str:
    content = (ROOT / "examples" / "data" / "train.jsonl").read_bytes()
    return str(client.post("/datasets", params={"name": "train"}, content=content).json()["id"])


def validation(client: TestClient, spec: dict[str, Any]) -> Any:
    response = client.post("/jobs/validate", json=spec)
    assert response.status_code == 200, response.text
    assert client.get("/jobs").json()["data"] == []
    return response.json()


def test_a_right_spec_is_valid_and_comes_back_with_every_default(client: TestClient) -> None:
    spec = body(upload(client), name="first")
    found = validation(client, spec)
    assert (found["valid"], found["problems"]) == (True, [])
    assert found["spec"] == client.post("/jobs", json=spec).json()["spec"]


def test_every_invalid_field_and_unknown_name_is_listed(client: TestClient) -> None:
    spec = body("ds_nope", alpha=2, lambda_adv=-1, x=1, student="unknown", evaluation={"dataset": "ds_gone"})
    found = validation(client, spec)
    assert (found["valid"], found["spec"]) == (False, None)
    problems = {problem["param"]: problem for problem in found["problems"]}
    assert set(problems) == {"alpha", "lambda_adv", "x", "student", "dataset_mix.0.dataset", "evaluation.dataset"}
    assert problems["alpha"]["code"] == "invalid_request"
    assert problems["dataset_mix.0.dataset"]["code"] == "invalid_spec"
    assert "POST /datasets" in problems["dataset_mix.0.dataset"]["hint"]
    assert "registered students: tiny" in problems["student"]["hint"]


def test_every_contradiction_is_listed_by_validate_and_by_a_refused_job(client: TestClient) -> None:
    spec = body(upload(client), grpo={"group_size": 1}, sft={"token_weight": "phi"}, alpha=0, rollout={"batch_size": 1},
                evaluation={"dataset": upload(client), "profile_completions": 3})  # fmt: skip
    fields = {"grpo.group_size", "sft.token_weight", "evaluation.profile_completions"}
    assert {problem["param"] for problem in validation(client, spec)["problems"]} == fields
    refused = client.post("/jobs", json=spec).json()
    assert {error["param"] for error in refused["errors"]} == fields
    assert refused["error"]["param"] in fields


def test_every_unknown_name_of_a_valid_spec_is_listed(client: TestClient) -> None:
    spec = body(
        "ds_nope",
        student="unknown",
        discriminator={"type": "embedding", "model": "tiny", "backend": EVIL},
        evaluation={"dataset": "ds_gone"},
        teacher={"type": "openai", "base_url": "http://evil.test/v1", "model": "m"},
    )
    found = validation(client, spec)
    params = [problem["param"] for problem in found["problems"]]
    assert params == [
        "teacher.base_url",
        "discriminator.backend.url",
        "student",
        "discriminator.model",
        "dataset_mix.0.dataset",
        "evaluation.dataset",
    ]
    assert found["spec"]["student"] == "unknown"


def test_every_dataset_that_lacks_what_its_terms_need_is_listed(client: TestClient) -> None:
    mix = [
        {"dataset": upload(client, without("reference")), "role": "sft"},
        {"dataset": upload(client, without("reward")), "role": "rl"},
        {"dataset": upload(client), "role": "both"},
    ]
    found = validation(client, body("", dataset_mix=mix))
    assert [problem["param"] for problem in found["problems"]] == ["dataset_mix.0.dataset", "dataset_mix.1.dataset"]
    refused = client.post("/jobs", json=body("", dataset_mix=mix)).json()
    assert refused["error"]["param"] == "dataset_mix.0.dataset"


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"student": 5, "dataset_mix": "all", "evaluation": []},
        {"student": "", "dataset_mix": [1, {"dataset": {}}, {"dataset": "a\x00b"}, None]},
        {"dataset_mix": {"dataset": "d"}, "alpha": {"type": "cosine"}},
    ],
)
def test_the_problems_of_any_object_are_a_200(client: TestClient, spec: dict[str, Any]) -> None:
    assert validation(client, spec)["problems"]


def test_a_body_that_is_no_object_is_a_422(client: TestClient) -> None:
    for path in ("/jobs/validate", "/jobs/estimate"):
        for content in (b"[]", b"{", b"5"):
            response = client.post(path, content=content, headers={"content-type": "application/json"})
            assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


def test_an_estimate_counts_rows_tokens_and_steps(real: TestClient) -> None:
    dataset = train_rows(real)
    mix = [{"dataset": dataset, "role": "sft"}, {"dataset": dataset, "role": "rl"}]
    spec = body("", dataset_mix=mix, **SMALL, lambda_adv=0)
    found = real.post("/jobs/estimate", json=spec).json()
    sft, rl = found["roles"]
    assert [(r["role"], r["rows"], r["left_out"]) for r in (sft, rl)] == [("sft", 201, 0), ("rl", 201, 0)]
    assert sft["prompt_tokens"] == rl["prompt_tokens"] > 201 * 40
    assert sft["reference_tokens"] > 0 == rl["reference_tokens"]
    assert sft["passes"] == pytest.approx(3 / 201)
    assert (found["steps"], found["rollouts_per_step"], found["tokens_counted_by"]) == (3, 2, "tokenizer")
    assert 150 < found["tokens_per_step"] < 600
    assert real.get("/jobs").json()["data"] == []


def test_without_a_worker_the_verdict_is_unknown_and_nothing_is_refused(real: TestClient) -> None:
    spec = body(train_rows(real), student="smol", resources={"micro_batch_tokens": 10**6})
    found = real.post("/jobs/estimate", json=spec).json()
    assert (found["verdict"], found["hardware"]) == ("unknown", [])
    assert "no worker is alive" in found["reasons"][0]
    assert found["memory"]["total"]["low"] > GB
    unknown = {"step_s": None, "total_s": None, "basis": "unknown: no worker is alive", "rough": False}
    assert found["time"] == unknown
    assert real.post("/jobs", json=spec).status_code == 201


def test_memory_is_estimated_by_parts(real: TestClient) -> None:
    spec = body(
        train_rows(real), student="smol", grpo={"group_size": 2, "kl_coef": 0.1}, rollout={"max_new_tokens": 16}
    )
    memory = real.post("/jobs/estimate", json=spec).json()["memory"]
    assert memory["device"] == "cpu"
    weights = 4 * 134_515_008
    assert memory["parts"]["weights"]["expected"] == memory["parts"]["reference"]["expected"] == weights
    assert memory["parts"]["optimizer"]["expected"] == 2 * weights
    others = {"gradients", "activations", "logits", "rollouts", "discriminator", "runtime"}
    assert set(memory["parts"]) == {"weights", "reference", "optimizer"} | others
    for part in (memory["total"], *memory["parts"].values()):
        assert part["low"] <= part["expected"] <= part["high"]
    assert memory["total"]["expected"] <= sum(part["expected"] for part in memory["parts"].values())


def test_servers_are_left_out_with_a_reason(real: TestClient) -> None:
    vllm = {"type": "vllm"}
    spec = body(
        train_rows(real), student="smol", discriminator={"type": "embedding", "backend": vllm},
        rollout={"backend": vllm}, lambda_adv=0.01,
    )  # fmt: skip
    found = real.post("/jobs/estimate", json=spec).json()
    assert {"rollouts", "discriminator"}.isdisjoint(found["memory"]["parts"])
    assert [why.split(" is not included")[0] for why in found["reasons"] if "server" in why] == [
        "memory of the discriminator server beside the trainer",
        "memory of the rollout server beside the trainer",
    ]


def test_a_job_that_no_worker_can_hold_is_refused_with_the_numbers_everywhere(real: TestClient) -> None:
    spec = body(train_rows(real), student="smol", **SMALL)
    worker(real, 1.0)
    worker(real, 2.0, "worker_b")
    found = real.post("/jobs/estimate", json=spec).json()
    low = found["memory"]["total"]["low"]
    assert found["verdict"] == "does_not_fit"
    assert found["reasons"][0] == f"the job needs at least {low / GB:.1f} GB; the largest worker has 2.0 GB"
    refused = real.post("/jobs", json=spec)
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "does_not_fit"
    for number in (f"at least {low / GB:.1f} GB", "2.0 GB", "micro_batch_tokens"):
        assert number in refused.json()["detail"]
    assert real.get("/jobs").json()["data"] == []
    (problem,) = validation(real, spec)["problems"]
    assert (problem["code"], problem["param"]) == ("does_not_fit", "resources")
    worker(real, low / GB + 0.01, "worker_c")
    assert real.post("/jobs/estimate", json=spec).json()["verdict"] == "tight"
    assert "memory: " in validation_warnings(real, spec)[0]
    assert real.post("/jobs", json=spec).status_code == 201


def validation_warnings(client: TestClient, spec: dict[str, Any]) -> list[str]:
    found = client.post("/jobs/validate", json=spec).json()
    assert found["valid"]
    return list(found["warnings"])


def test_live_workers_are_queried_once_for_many_jobs(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_cache, "MAX_AGE_S", 3600.0)
    spec = body(upload(client))
    seen: list[str] = []
    event.listen(engine_of(client), "before_cursor_execute", lambda *args: seen.append(args[2]))
    for _ in range(3):
        assert client.post("/jobs", json=spec).status_code == 201
    assert sum("FROM workers" in statement for statement in seen) == 1


def test_of_jobs_that_differ_in_name_and_seed_one_is_measured(
    real: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_cache, "MAX_AGE_S", 3600.0)
    spec = body(train_rows(real), student="smol", **SMALL)
    low = real.post("/jobs/estimate", json=spec).json()["memory"]["total"]["low"]
    worker(real, low / GB + 0.2)
    measured = []
    monkeypatch.setattr(plan, "least", lambda *args: measured.append(args) or least(*args))
    for other in ({}, {"seed": 5}, {"name": "x"}, {"alpha": 0.5}):
        assert real.post("/jobs", json={**spec, **other}).status_code == 201
    assert len(measured) == 2
    larger = {**spec, "grpo": {**spec["grpo"], "kl_coef": 0.1}}
    assert [real.post("/jobs", json=larger).status_code for _ in range(2)] == [422, 422]


def test_a_silent_worker_refuses_nothing(real: TestClient) -> None:
    spec = body(train_rows(real), student="smol", **SMALL)
    worker(real, 1.0)
    assert real.post("/jobs", json=spec).status_code == 422
    with unit_of_work(engine_of(real)) as session:
        session.execute(update(Worker).values(seen_at=now() - 300))
    assert real.post("/jobs", json=spec).status_code == 201
    assert real.get("/workers").json()["data"] == []


def test_a_gpu_counts_by_its_own_memory(real: TestClient) -> None:
    spec = body(train_rows(real), student="smol", **SMALL)
    worker(real, 1.0, gpu=80)
    found = real.post("/jobs/estimate", json=spec).json()
    assert (found["verdict"], found["memory"]["device"]) == ("fits", "gpu")
    assert real.post("/jobs", json=spec).status_code == 201
    worker(real, 500.0, gpu=1)
    assert real.post("/jobs", json=spec).json()["error"]["code"] == "does_not_fit"


def test_servers_on_a_gpu_are_counted_and_what_they_lack_is_refused(real: TestClient) -> None:
    rollout = {"max_new_tokens": 16, "backend": {"type": "vllm", "concurrency": 8}}
    spec = body(train_rows(real), **{**SMALL, "student": "smol", "rollout": rollout})
    worker(real, 64.0)
    found = real.post("/jobs/estimate", json=spec).json()
    assert found["memory"]["servers"] == {}
    assert "memory of the rollout server beside the trainer is not included" in found["reasons"]
    worker(real, 64.0, gpu=80)
    found = real.post("/jobs/estimate", json=spec).json()
    assert found["verdict"] == "fits"
    assert list(found["memory"]["servers"]) == ["rollout"]
    assert "rollout" in found["reasons"][0]
    least = (found["memory"]["total"]["low"] + found["memory"]["servers"]["rollout"]["low"]) / GB
    worker(real, 64.0, gpu=least - 0.1)
    refused = real.post("/jobs", json=spec).json()["error"]
    assert (refused["code"], refused["param"]) == ("does_not_fit", "resources")
    assert f"at least {least:.1f} GB (trainer " in refused["message"]
    apart = [{"name": "G", "memory_bytes": int(least * 0.9 * GB), "processes": [p]} for p in ("trainer", "rollout")]
    worker(real, 64.0, gpus=apart)
    assert real.post("/jobs", json=spec).status_code == 201
    spec["rollout"]["backend"]["gpu_memory_fraction"] = 0.01
    refused = real.post("/jobs", json=spec).json()["error"]
    assert (refused["code"], refused["param"]) == ("does_not_fit", "rollout.backend.gpu_memory_fraction")


def test_adapters_are_not_sampled_on_a_server_that_cannot_load_their_student(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "models.json").write_text(json.dumps({"packed": {"kind": "student", "path": "/m", "gguf": "m.gguf"}}))
    settings = Settings(data_dir=tmp_path, database_url=database_url, models_file=tmp_path / "models.json")
    fields = {"student": "packed", "lambda_adv": 0, "rollout": {"backend": {"type": "vllm"}}}
    with TestClient(create_app(settings)) as client:
        client.headers["authorization"] = f"Bearer {new_key(client)}"
        spec = body(upload(client), **fields)
        assert validation(client, spec)["valid"]  # all weights are handed over as the trainer has them
        for path in ("/jobs", "/jobs/estimate"):
            refused = client.post(path, json={**spec, "lora": {"rank": 8}})
            assert (refused.status_code, refused.json()["error"]["param"]) == (422, "rollout.backend")
        (problem,) = validation(client, {**spec, "lora": {"rank": 8}})["problems"]
        assert (problem["param"], "GGUF" in problem["message"]) == ("rollout.backend", True)


def test_a_small_job_fits_and_warns_of_nothing(real: TestClient) -> None:
    worker(real, 24.0)
    spec = body(train_rows(real), **SMALL)
    assert real.post("/jobs/estimate", json=spec).json()["verdict"] == "fits"
    assert validation_warnings(real, spec) == []
    limited = {**spec, "data": {"max_reference_tokens": 20}}
    (warning,) = validation_warnings(real, limited)
    assert "exceed the limits of `data`" in warning


def test_time_comes_from_steps_that_were_made_and_grows_with_the_tokens(real: TestClient) -> None:
    from tests.store.test_workers import run

    spec = body(train_rows(real), **SMALL)
    worker(real, 24.0)
    found = real.post("/jobs/estimate", json=spec).json()
    assert found["time"]["rough"]
    run(engine_of(real), JobSpec.model_validate(spec))  # 100 tokens in 2 s, answers of 10
    found = real.post("/jobs/estimate", json=spec).json()
    assert found["time"]["step_s"] == pytest.approx(found["tokens_per_step"] * 0.02, rel=0.01)
    assert found["time"]["total_s"] == pytest.approx(3 * found["time"]["step_s"])
    assert found["time"]["basis"].startswith("measured on 2 steps")
    assert not found["time"]["rough"]


def test_before_any_history_the_time_is_rough_and_more_than_an_hour_is_warned_of(real: TestClient) -> None:
    dataset = train_rows(real)
    demo = json.loads((ROOT / "examples" / "uniapl.json").read_text())
    spec = {**demo, "student": "smol", "dataset_mix": [{"dataset": dataset}], "evaluation": None}
    worker(real, 24.0)
    found = real.post("/jobs/estimate", json=spec).json()
    time = found["time"]
    assert time["rough"]
    assert 10 < time["step_s"] < 60  # docs/benchmarks/step.md: 31 s with one thread
    assert time["total_s"] == pytest.approx(10 * time["step_s"])
    assert "SmolLM2-135M" in time["basis"]
    assert "2 cores" in time["basis"]
    assert not any("hours" in reason for reason in found["reasons"])
    usual = body(dataset, student="smol")  # the defaults
    found = real.post("/jobs/estimate", json=usual).json()
    assert found["time"]["total_s"] > 7 * 24 * 3600
    (warning,) = [reason for reason in found["reasons"] if "hours" in reason]
    assert warning.startswith(f"the job takes about {found['time']['total_s'] / 3600:,.1f} hours on the live workers")
    assert "lower schedule.steps, schedule.prompts_per_step, grpo.group_size, rollout.max_new_tokens" in warning
    worker(real, 24.0, "worker_b", gpu=80)
    faster = real.post("/jobs/estimate", json=usual).json()["time"]
    assert faster["total_s"] < found["time"]["total_s"] / 10
    assert "not measured" in faster["basis"]


def test_sampling_by_a_server_has_no_rough_time(real: TestClient) -> None:
    worker(real, 200.0)
    spec = body(train_rows(real), student="smol", rollout={"backend": {"type": "vllm"}}, lambda_adv=0)
    found = real.post("/jobs/estimate", json=spec).json()["time"]
    assert (found["step_s"], found["rough"]) == (None, False)
    assert "a server samples" in found["basis"]


@pytest.mark.parametrize("answers", [True, False])
def test_a_model_of_the_hub_is_estimated_by_its_config_or_not_at_all(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    config = json.loads((MODELS / "smollm2-135m-instruct" / "config.json").read_text())
    asked: list[str] = []

    def hub(url: str, **_: Any) -> httpx.Response:
        asked.append(url)
        request = httpx.Request("GET", url)
        if "/api/" in url:
            return httpx.Response(200, json={"sha": "c0ffee"}, request=request)
        return httpx.Response(200 if answers else 404, json=config, request=request)

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(httpx, "get", hub)
    client.app.state.service.settings.hub_models[:] = ["*/*"]  # type: ignore[attr-defined]
    spec = body(upload(client), student="some/model", lambda_adv=0, **SMALL)
    found = [client.post("/jobs/estimate", json=spec).json() for _ in range(2)][-1]
    assert found["tokens_counted_by"] == "characters"
    assert asked[1].endswith("/some/model/resolve/c0ffee/config.json")
    if answers:
        assert found["memory"]["parts"]["weights"]["expected"] == 4 * 134_515_008
        assert sum("config.json" in url for url in asked) == 1  # a commit never changes
    else:
        assert (found["verdict"], found["memory"]) == ("unknown", None)


def test_a_model_without_local_files_is_unknown_and_accepted(client: TestClient) -> None:
    worker(client, 0.001)
    spec = body(upload(client), **SMALL)  # `tiny` of this registry names an empty place
    found = client.post("/jobs/estimate", json=spec).json()
    assert (found["verdict"], found["memory"]) == ("unknown", None)
    assert "size of a model is unknown" in found["reasons"][0]
    assert found["tokens_per_step"] > 0
    assert client.post("/jobs", json=spec).status_code == 201


def test_an_estimate_refuses_what_a_job_would(client: TestClient) -> None:
    for changes, param in (
        ({"student": "unknown"}, "student"),
        ({"dataset_mix": [{"dataset": "ds_nope"}]}, "dataset_mix.0.dataset"),
        ({"teacher": {"type": "openai", "base_url": "http://evil.test/v1", "model": "m"}}, "teacher.base_url"),
        ({"discriminator": {"type": "embedding", "backend": EVIL}}, "discriminator.backend.url"),
    ):
        response = client.post("/jobs/estimate", json=body(upload(client, ROW), **changes))
        assert (response.status_code, response.json()["error"]["param"]) == (422, param)


def test_workers_are_listed_with_what_they_run_on(real: TestClient) -> None:
    worker(real, 24.0, gpu=80, host="rack-1", slots=2)
    (found,) = real.get("/workers").json()["data"]
    assert (found["id"], found["host"], found["slots"], found["memory_bytes"]) == ("worker_a", "rack-1", 2, 24 * GB)
    every = ["trainer", "discriminator", "rollout"]
    assert found["gpus"] == [{"name": "G", "memory_bytes": 80 * GB, "processes": every}]
    estimate = real.post("/jobs/estimate", json=body(train_rows(real), **SMALL)).json()
    assert estimate["hardware"] == [{key: found[key] for key in ("cpus", "memory_bytes", "gpus", "slots")}]


def test_an_accepted_job_is_replayed_whatever_workers_are_left(real: TestClient) -> None:
    spec, key = body(train_rows(real), student="smol", **SMALL), {"idempotency-key": "once"}
    worker(real, 24.0)
    first = real.post("/jobs", json=spec, headers=key)
    worker(real, 1.0)  # the same worker, in a smaller container
    again = real.post("/jobs", json=spec, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert real.post("/jobs", json=spec).json()["error"]["code"] == "does_not_fit"


def test_reading_jobs_is_scope_enough_to_ask_and_other_tenants_rows_are_not_counted(real: TestClient) -> None:
    mine = body(train_rows(real), **SMALL)
    reader, stranger = (
        {"authorization": f"Bearer {new_key(real, tenant, scopes=['jobs:read'])}"} for tenant in ("default", "other")
    )
    for path in ("/jobs/validate", "/jobs/estimate"):
        assert real.post(path, json=mine, headers=reader).status_code == 200
    found = real.post("/jobs/validate", json=mine, headers=stranger).json()
    assert [problem["param"] for problem in found["problems"]] == ["dataset_mix.0.dataset"]
    assert real.post("/jobs/estimate", json=mine, headers=stranger).json()["error"]["param"] == "dataset_mix.0.dataset"
    assert real.get("/workers", headers=reader).status_code == 403


def test_queue_position_and_eta_take_few_queries_for_a_page(client: TestClient) -> None:
    spec = body(upload(client))
    made = [client.get(f"/jobs/{client.post('/jobs', json=spec).json()['id']}").json() for _ in range(12)]
    assert [job["queue_position"] for job in made] == list(range(1, 13))
    assert {job["queue_reason"] for job in made} == {"no worker is connected"}
    worker(client, 24.0)
    count = [0]
    event.listen(engine_of(client), "before_cursor_execute", lambda *_: count.__setitem__(0, count[0] + 1))
    listed = client.get("/jobs").json()["data"]
    for_all, count[0] = count[0], 0
    assert [job["queue_position"] for job in listed] == list(range(12, 0, -1))
    assert (listed[-1]["queue_reason"], listed[-2]["queue_reason"]) == (
        "a worker is about to claim it",
        "1 job ahead",
    )
    assert client.get("/jobs", params={"limit": 1}).json()["data"] == listed[:1]
    assert count[0] == for_all <= 10  # two of them BEGIN on SQLite, one for the key
    assert client.get(f"/jobs/{made[3]['id']}").json()["queue_position"] == 4
    client.post(f"/jobs/{made[0]['id']}/pause")
    assert client.get(f"/jobs/{made[0]['id']}").json()["queue_position"] is None
    client.post(f"/jobs/{made[0]['id']}/resume")
    resumed = client.get(f"/jobs/{made[0]['id']}").json()
    assert (resumed["queue_position"], resumed["eta_s"]) == (1, None)


def test_the_sdk_and_the_command_line_understand_the_answers(database_url: str, tmp_path: Path) -> None:
    registry = {"smol": {"kind": "student", "path": str(MODELS / "smollm2-135m-instruct")}}
    (tmp_path / "models.json").write_text(json.dumps(registry))
    settings = Settings(data_dir=tmp_path, database_url=database_url, models_file=tmp_path / "models.json")
    with Server(settings) as server, Client(server.url, api_key=server.key) as sdk:
        spec = body(sdk.datasets.upload(ROOT / "examples" / "data" / "train.jsonl").id, student="smol", lambda_adv=0)
        assert sdk.jobs.validate(**spec).spec == JobSpec.model_validate(spec)
        wrong = sdk.jobs.validate(**{**spec, "student": "unknown", "alpha": 2})
        assert {(problem.param, problem.code) for problem in wrong.problems} == {
            ("student", "invalid_spec"),
            ("alpha", "invalid_request"),
        }
        found = sdk.jobs.estimate(**spec)
        assert found.memory is not None
        assert found.memory.parts["weights"].expected == 4 * 134_515_008
        job = sdk.jobs.get(sdk.jobs.create(**spec).id)
        assert (job.queue_position, job.queue_reason) == (1, "no worker is connected")
        (tmp_path / "spec.json").write_text(json.dumps(spec))

        def command(*arguments: str) -> str:
            shown = CliRunner(env={"UNIAPL_URL": server.url, "UNIAPL_API_KEY": server.key}).invoke(main, arguments)
            assert shown.exit_code == 0, shown.output
            return shown.stdout

        assert command("estimate", str(tmp_path / "spec.json")).startswith("unknown: no worker is alive")
        assert command("validate", str(tmp_path / "spec.json")).endswith("valid\n")
        assert json.loads(command("estimate", str(tmp_path / "spec.json"), "--json")) == found.model_dump(mode="json")
        assert "Queued, position 1 (no worker is connected)" in command("show", job.id)
