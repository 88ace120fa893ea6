"""The estimate of a job before it is queued: rows, tokens, memory by parts, time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from uniapl_client import Client
from uniapl_client.cli import main

from store.settings import Settings
from tests.api.admission.conftest import EVIL, GB, SMALL, train_rows, worker
from tests.api.conftest import ROW, upload
from tests.api.routes.test_jobs import body, engine_of
from tests.api.server import Server
from tests.conftest import MODELS, ROOT
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.integration


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
    unknown = {"step_s": None, "total_s": None, "basis": "unknown: no worker is alive", "source": None, "rough": False}
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
    assert found["time"]["basis"].startswith("history: measured on 2 steps")
    assert (found["time"]["source"], found["time"]["rough"]) == ("history", False)


def test_each_update_on_a_rollout_takes_its_time(real: TestClient) -> None:
    from tests.store.test_workers import run

    spec = body(train_rows(real), **SMALL)
    spec["grpo"] = {**spec.get("grpo", {}), "updates_per_rollout": 3, "extra_batches": 2}
    worker(real, 24.0)
    left_out = "up to 2 further batches of rollouts a step (grpo.extra_batches) are not included in the time"
    assert left_out in real.post("/jobs/estimate", json=spec).json()["reasons"]
    run(engine_of(real), JobSpec.model_validate(spec))  # 100 tokens of three updates in 2 s
    found = real.post("/jobs/estimate", json=spec).json()
    assert found["time"]["source"] == "history"
    assert found["time"]["step_s"] == pytest.approx(3 * found["tokens_per_step"] * 0.02, rel=0.01)
    assert left_out not in found["reasons"]


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


def test_before_any_history_the_time_follows_from_what_the_box_measured(real: TestClient) -> None:
    spec = body(train_rows(real), **SMALL | {"student": "smol"}, lambda_adv=0)
    speed = {"device": "cpu", "parameters": 134_515_008, "update": 10.0, "sampling": 1e9}
    worker(real, 200.0)
    assert real.post("/jobs/estimate", json=spec).json()["time"]["source"] == "arithmetic"
    worker(real, 200.0, speed=speed)
    found = real.post("/jobs/estimate", json=spec).json()
    assert found["time"]["step_s"] == pytest.approx(found["tokens_per_step"] / 10, rel=0.01)  # the same model
    assert (found["time"]["source"], found["time"]["rough"]) == ("measured_on_this_box", True)
    assert "measured on this box" in found["time"]["basis"]
    assert "135 million" in found["time"]["basis"]
    assert found["hardware"][0]["speed"]["update"] == 10.0


def test_sampling_by_a_server_is_timed_by_the_measured_memory_of_a_gpu(real: TestClient) -> None:
    speed = {"device": "gpu", "parameters": 134_515_008, "update": 1e9, "sampling": 1.0, "memory": 1e12}
    spec = body(
        train_rows(real), student="smol", lambda_adv=0, grpo={"group_size": 4}, schedule={"prompts_per_step": 1},
        rollout={"max_new_tokens": 1000},
    )  # fmt: skip
    worker(real, 200.0, gpu=80, vllm="0.33.0")
    assert real.post("/jobs/estimate", json=spec).json()["time"]["step_s"] is None
    worker(real, 200.0, gpu=80, vllm="0.33.0", speed=speed)
    time = real.post("/jobs/estimate", json=spec).json()["time"]
    reading = 1000 * 2 * 134_515_008 / 1e12  # the weights, for each token of four answers at once
    assert time["step_s"] == pytest.approx(1000 * 0.003 + reading, rel=0.02)
    assert time["source"] == "measured_on_this_box"


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


def test_an_estimate_refuses_what_a_job_would(client: TestClient) -> None:
    for changes, param in (
        ({"student": "unknown"}, "student"),
        ({"dataset_mix": [{"dataset": "ds_nope"}]}, "dataset_mix.0.dataset"),
        ({"teacher": {"type": "openai", "base_url": "http://evil.test/v1", "model": "m"}}, "teacher.base_url"),
        ({"discriminator": {"type": "embedding", "backend": EVIL}}, "discriminator.backend.url"),
    ):
        response = client.post("/jobs/estimate", json=body(upload(client, ROW), **changes))
        assert (response.status_code, response.json()["error"]["param"]) == (422, param)


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
