"""The admission checks of a job spec: one order for `POST /jobs`, `/jobs/validate` and `/jobs/estimate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.admission.conftest import EVIL
from tests.api.conftest import upload
from tests.api.routes.test_jobs import body, without

pytestmark = pytest.mark.integration

Upload = Callable[..., str]
UNKNOWN_DATASET = [{"dataset": "ds_nope"}]


def teacher(**changes: Any) -> dict[str, Any]:
    return {"type": "openai", "base_url": "https://teacher.test/v1", "model": "m", **changes}


def invalid_specs(client: TestClient) -> dict[str, dict[str, Any]]:
    """Specs with one or several problems, of every check and every pair of neighbours in their order."""
    plain, no_reference, no_reward = (
        upload(client, *rows) for rows in ((), (without("reference"),), (without("reward"),))
    )
    held_out = {"evaluation": {"dataset": "ds_gone"}}
    forbidden = {"teacher": teacher(base_url="http://evil.test/v1")}
    unlisted = {"discriminator": {"type": "embedding", "backend": EVIL}}
    imitation = {"alpha": 1, "lambda_adv": 0}
    return {
        "field": body(plain, alpha=2),
        "fields": body(plain, alpha=2, lambda_adv=-1, x=1, student="unknown"),
        "contradiction": body(plain, alpha=0, grpo={"group_size": 1}, sft={"token_weight": "phi"}),
        "teacher": body(plain, **forbidden),
        "teacher and discriminator": body(plain, **forbidden, **unlisted),
        "environment": body(plain, teacher=teacher(api_key_env="HOME"), student="unknown"),
        "discriminator and student": body(plain, **unlisted, student="unknown"),
        "student": body("ds_nope", student="unknown"),
        "student and judge": body(plain, student="unknown", discriminator={"type": "embedding", "model": "tiny"}),
        "judge": body("ds_nope", discriminator={"type": "embedding", "model": "tiny"}),
        "dataset": body("ds_nope", **held_out),
        "references": body(no_reference, **imitation),
        "references and held-out rows": body(no_reference, **imitation, **held_out),
        "rewards and held-out rows": body(no_reward, alpha=0, lambda_adv=0, **held_out),
        "held-out rows": body(plain, **held_out),
        "held-out rows and secret": body(plain, **held_out, teacher=teacher(api_key_secret="gone")),
        "secret": body(plain, teacher=teacher(api_key_secret="gone")),
        "references and secret": body(no_reward, teacher=teacher(api_key_secret="gone")),
    }


def test_a_refused_job_has_the_first_problem_of_its_validation_and_its_estimate_one_of_them(client: TestClient) -> None:
    for name, spec in invalid_specs(client).items():
        problems = [as_error(problem) for problem in client.post("/jobs/validate", json=spec).json()["problems"]]
        refused = client.post("/jobs", json=spec)
        assert refused.status_code == 422, name
        assert error_of(refused.json()) == problems[0], name
        estimated = client.post("/jobs/estimate", json=spec)
        assert estimated.status_code == 200 or error_of(estimated.json()) in problems, name
    assert client.get("/jobs").json()["data"] == []


def as_error(problem: dict[str, Any]) -> tuple[str, str, str]:
    message = f"{problem['message']}: {problem['hint']}" if problem["hint"] else problem["message"]
    return problem["code"], problem["param"], message


def error_of(answer: dict[str, Any]) -> tuple[str, str, str]:
    error = answer["error"]
    message = error["message"]
    if error["code"] == "invalid_request":
        message = message.removeprefix(f"{error['param']}: ")
    return error["code"], error["param"], message
