"""Validation of a job before it is queued: every problem of its spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.main import create_app
from store.settings import Settings
from tests.api.admission.conftest import EVIL, SMALL, train_rows, validation
from tests.api.conftest import new_key, upload
from tests.api.routes.test_jobs import body, without

pytestmark = pytest.mark.integration


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
        assert validation(client, {**spec, "lora": {"rank": 8}, "rollout": {}})["valid"]


def test_adapters_beyond_the_largest_rank_of_vllm_are_refused(real: TestClient) -> None:
    spec = body(train_rows(real), **SMALL)
    served = {**spec, "rollout": {**spec.get("rollout", {}), "backend": {"type": "vllm"}}}
    assert validation(real, {**served, "lora": {"rank": 512}})["valid"]
    (problem,) = validation(real, {**served, "lora": {"rank": 513}})["problems"]
    assert (problem["param"], "up to rank 512" in problem["message"]) == ("rollout.backend", True)
    assert validation(real, {**spec, "lora": {"rank": 513}})["valid"]


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


def test_a_row_is_shown_as_it_will_be_trained(real: TestClient) -> None:
    row = {"id": "sum", "messages": [{"role": "user", "content": "3 + 4?"}], "reference": "<think>Well.</think>7."}
    sft = {"schedule": {"prompts_per_step": 2, "steps": 3}}
    spec = body(upload(real, row), **sft, alpha=1, lambda_adv=0)
    found = validation(real, spec)
    shown = found["rendered"]
    assert (shown["row"], shown["trained"]) == ("sum", "7.<|im_end|>")
    assert shown["prompt"].endswith("<|im_start|>user\n3 + 4?<|im_end|>\n<|im_start|>assistant\n")
    assert shown["trained_tokens"] == ["7", ".", "<|im_end|>"]
    assert found["problems"] == []
    assert "".join(shown["prompt_tokens"]) == shown["prompt"]
    assert any("the reasoning of 1 of the first references (first row: sum) is removed" in w for w in found["warnings"])
    kept = validation(real, {**spec, "data": {"thinking": "on"}})["rendered"]
    assert kept["trained"] == "<think>Well.</think>7.<|im_end|>"


def test_the_other_answers_that_are_trained_are_shown_too(real: TestClient) -> None:
    turns = [("user", "3 + 4?"), ("assistant", "7."), ("user", "And 2 more?")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns], "reference": "9."}
    spec = body(upload(real, row), **SMALL, alpha=1, lambda_adv=0)
    assert validation(real, spec)["rendered"]["earlier"] == []
    shown = validation(real, {**spec, "data": {"trained_turns": "all_answers"}})["rendered"]
    assert (shown["trained"], shown["earlier"]) == ("9.<|im_end|>", ["7.<|im_end|>"])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": {"chat_template": "{{ messages }}"}}, "trainers only render data.chat_template"),
        ({"student": "packed"}, "trainers only read the tokenizer of a GGUF file"),
        ({"student": "elsewhere"}, "the student's tokenizer.json is not on the API's machine"),
    ],
)
def test_a_row_that_cannot_be_shown_is_a_warning_with_the_reason(
    tmp_path: Path, database_url: str, fields: dict[str, Any], reason: str
) -> None:
    packed, elsewhere = {"path": "/m", "gguf": "m.gguf"}, {"path": "/m"}
    models = {name: {"kind": "student", **source} for name, source in (("packed", packed), ("elsewhere", elsewhere))}
    (tmp_path / "models.json").write_text(json.dumps(models))
    settings = Settings(data_dir=tmp_path, database_url=database_url, models_file=tmp_path / "models.json")
    with TestClient(create_app(settings)) as client:
        client.headers["authorization"] = f"Bearer {new_key(client)}"
        found = validation(client, body(upload(client), lambda_adv=0, **{"student": "elsewhere", **fields}))
    assert (found["problems"], found["rendered"]) == ([], None)
    warning = f"rows are not shown as they will be trained: {reason}"
    assert [w.split(";")[0] for w in found["warnings"] if w.startswith("rows")] == [warning]


def test_a_reference_that_the_template_cannot_continue_is_a_problem(real: TestClient) -> None:
    asked = {"id": "r", "messages": [{"role": "user", "content": "Hi"}], "reference": "<think>never closed"}
    found = validation(real, body(upload(real, asked), **SMALL, alpha=1, lambda_adv=0))
    assert not found["valid"]
    assert [(p["param"], p["message"]) for p in found["problems"]] == [
        ("dataset_mix", "row r: the reference has reasoning and no answer after it")
    ]


def test_a_student_of_a_kind_that_cannot_be_trained_is_refused_before_it_is_queued(
    database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "gptq").mkdir()
    config = {"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}
    (tmp_path / "gptq" / "config.json").write_text(json.dumps(config))
    models = tmp_path / "models.json"
    models.write_text(json.dumps({"tiny": {"kind": "student", "path": str(tmp_path / "gptq")}}))
    settings = Settings(data_dir=tmp_path, database_url=database_url, models_file=models)
    with TestClient(create_app(settings)) as client:
        client.headers["authorization"] = f"Bearer {new_key(client)}"
        spec = body(upload(client))
        (problem,) = (found for found in validation(client, spec)["problems"] if found["param"] == "student")
        assert problem["code"] == "model_not_loadable"
        assert "quantized (gptq)" in problem["message"]
        refused = client.post("/jobs", json=spec)
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "student")
