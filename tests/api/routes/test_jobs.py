"""`/jobs`: admission, refusals, lists, events, metrics and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from store.checkpoints import repository as checkpoints
from store.db import unit_of_work
from store.jobs import lifecycle, metrics
from store.tables import Job
from tests.api.conftest import ROW, upload
from tests.conftest import ROOT

pytestmark = pytest.mark.integration


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in ROW.items() if key not in keys}


def body(dataset: str, **fields: Any) -> dict[str, Any]:
    return {"student": "tiny", "dataset_mix": [{"dataset": dataset}], **fields}


def engine_of(client: TestClient) -> Any:
    return client.app.state.service.engine  # type: ignore[attr-defined]


def test_a_job_is_queued_with_every_default_filled_in(client: TestClient) -> None:
    response = client.post("/jobs", json=body(upload(client), name="first"))
    assert response.status_code == 201
    job = response.json()
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert (job["state"], job["step"], job["steps"], job["name"]) == ("queued", 0, 200, "first")
    assert (job["spec"]["alpha"], job["spec"]["grpo"]["group_size"]) == (0.1, 8)
    found = client.get(f"/jobs/{job['id']}").json()
    assert found == {**job, "queue_position": 1, "queue_reason": "no worker is connected"}
    assert client.get("/jobs").json()["data"] == [found]


@pytest.mark.parametrize(
    ("rows", "fields", "param", "text"),
    [
        ([ROW], {"student": "unknown-model"}, "student", "registered students: tiny"),
        ([ROW], {"student": "some/hub-model"}, "student", "unknown student"),
        ([ROW], {"dataset_mix": [{"dataset": "ds_nope"}]}, "dataset_mix.0.dataset", "POST /datasets"),
        ([ROW], {"evaluation": {"dataset": "ds_nope"}}, "evaluation.dataset", "unknown dataset"),
        ([without("reference")], {"alpha": 1, "lambda_adv": 0}, "dataset_mix.0.dataset", "add a `reference`"),
        ([ROW, without("reference")], {}, "dataset_mix.0.dataset", "1 of 2 rows"),
        ([without("reward")], {"alpha": 0, "lambda_adv": 0}, "dataset_mix.0.dataset", "add a `reward`"),
        ([without("reference")], {"alpha": 0}, "lambda_adv", "no sampled row has a reference"),
        ([ROW], {"alpha": 1.5}, "alpha", "less than or equal to 1"),
        ([ROW], {"alpha": -0.5}, "alpha", "greater than or equal to 0"),
        ([ROW], {"lambda_adv": -0.1}, "lambda_adv", "greater than or equal to 0"),
        ([ROW], {"dataset_mix": []}, "dataset_mix", "at least 1 item"),
        ([ROW], {"learning_rate": 1}, "learning_rate", "unknown key"),
        ([ROW], {"grpo": {"groupsize": 2}}, "grpo.groupsize", "unknown key"),
        ([ROW], {"discriminator": {"type": "embedding", "model": "tiny"}}, "discriminator.model", "is a student"),
        ([ROW], {"dataset_mix": [{"dataset": "d", "role": "sft"}]}, "dataset_mix", "no entry has role 'rl' or 'both'"),
        ([ROW], {"grpo": {"loss": "dr_grpo"}}, "grpo.scale_rewards", "set it to false"),
        ([ROW], {"schedule": {"steps": 10**30}}, "schedule.steps", "less than or equal to"),
        ([ROW], {"name": "a\x00b"}, "name", "NUL"),
    ],
)
def test_a_bad_spec_is_refused_by_field_and_nothing_is_queued(
    client: TestClient, rows: list[dict[str, Any]], fields: dict[str, Any], param: str, text: str
) -> None:
    response = client.post("/jobs", json=body(upload(client, *rows), **fields))
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["error"]["param"] == param
    assert text in problem["detail"]
    assert problem["error"]["message"] == problem["detail"]
    assert problem["status"] == 422
    assert client.get("/jobs").json()["data"] == []


def test_every_problem_of_a_spec_is_listed(client: TestClient) -> None:
    errors = client.post("/jobs", json=body("d", alpha=2, lambda_adv=-1, x=1)).json()["errors"]
    assert {error["param"] for error in errors} == {"alpha", "lambda_adv", "x"}


@pytest.mark.parametrize("content", [b"{", b"", b"[]", b'"text"', b"\xff"])
def test_a_body_that_is_no_spec_is_a_422(client: TestClient, content: bytes) -> None:
    response = client.post("/jobs", content=content, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert "error" in response.json()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/jobs/job_nope", 404, "job_not_found"),
        ("POST", "/jobs/job_nope/cancel", 404, "job_not_found"),
        ("GET", "/jobs/job_nope/events", 404, "job_not_found"),
        ("GET", "/jobs/job_nope/metrics", 404, "job_not_found"),
        ("GET", "/jobs/job_nope/samples", 404, "job_not_found"),
        ("GET", "/jobs/job_nope/checkpoints", 404, "job_not_found"),
        ("GET", "/jobs?after=job_nope", 404, "job_not_found"),
        ("GET", "/checkpoints/ckpt_nope", 404, "checkpoint_not_found"),
        ("GET", "/checkpoints/ckpt_nope/files/x", 404, "checkpoint_not_found"),
        ("GET", "/datasets/ds_nope", 404, "dataset_not_found"),
        ("GET", "/nowhere", 404, "route_not_found"),
        ("DELETE", "/jobs", 405, "method_not_allowed"),
        ("GET", "/jobs?limit=0", 422, "invalid_request"),
        ("GET", "/jobs/job_nope/events?after=99999999999999999999", 422, "invalid_request"),
        ("GET", "/jobs/job_nope/metrics?since_step=99999999999999999999", 422, "invalid_request"),
        ("GET", "/jobs/job_nope/samples?step=99999999999999999999", 422, "invalid_request"),
    ],
)
def test_every_error_has_the_one_shape(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["error"]["code"] == code
    assert response.json()["type"] == f"urn:uniapl:error:{code}"


def test_an_unexpected_error_exposes_no_internals(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret path /srv/keys")

    monkeypatch.setattr(lifecycle, "get", broken)
    response = client.get("/jobs/job_1")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["error"]["code"] == "internal_error"


def test_cancelling_a_queued_job_ends_it_and_a_finished_one_cannot_be(client: TestClient) -> None:
    job_id = client.post("/jobs", json=body(upload(client))).json()["id"]
    for _ in range(2):
        assert client.post(f"/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    job_id = client.post("/jobs", json=body(upload(client))).json()["id"]
    with unit_of_work(engine_of(client)) as session:
        session.get_one(Job, job_id).state = "succeeded"
    response = client.post(f"/jobs/{job_id}/cancel")
    assert response.status_code == 409
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"]["code"] == "job_is_over"


def test_a_job_is_paused_and_resumed(client: TestClient) -> None:
    job_id = client.post("/jobs", json=body(upload(client))).json()["id"]
    paused = client.post(f"/jobs/{job_id}/pause").json()
    assert (paused["state"], paused["pause_requested"]) == ("paused", True)
    resumed = client.post(f"/jobs/{job_id}/resume").json()
    assert (resumed["state"], resumed["pause_requested"]) == ("queued", False)
    client.post(f"/jobs/{job_id}/cancel")
    for verb in ("pause", "resume"):
        response = client.post(f"/jobs/{job_id}/{verb}")
        assert (response.status_code, response.json()["error"]["code"]) == (409, "job_is_over")


def test_metrics_pages_end_with_a_whole_step(client: TestClient) -> None:
    job_id = client.post("/jobs", json=body(upload(client))).json()["id"]
    with unit_of_work(engine_of(client)) as session:
        metrics.put_metrics(session, job_id, 1, [(n, s, 0.0) for s in (1, 2, 3) for n in ("a", "b", "c")])
    pages, since = [], -1
    while True:
        page = client.get(f"/jobs/{job_id}/metrics", params={"limit": 4, "since_step": since}).json()
        pages.append([(m["step"], m["name"]) for m in page["data"]])
        if not page["has_more"]:
            break
        since = page["data"][-1]["step"]
    assert pages == [[(s, n) for n in ("a", "b", "c")] for s in (1, 2, 3)]


def test_a_checkpoint_whose_folder_was_just_deleted_is_not_listed(client: TestClient, tmp_path: Path) -> None:
    job_id = client.post("/jobs", json=body(upload(client))).json()["id"]
    whole = tmp_path / "jobs" / "whole"
    whole.mkdir(parents=True)
    (whole / "config.json").write_text("{}")
    (whole / "manifest.json").write_text('{"files": {"config.json": {"bytes": 2, "sha256": "x"}}}')
    with unit_of_work(engine_of(client)) as session:
        for step, path in ((1, "jobs/gone"), (2, "jobs/whole")):
            checkpoints.commit(session, job_id, 1, step=step, path=path, manifest_sha256="x", size=1)
        gone = next(c.id for c in checkpoints.of_job(session, job_id) if c.step == 1)
    found = client.get(f"/jobs/{job_id}/checkpoints").json()["data"]
    assert [c["step"] for c in found] == [2]
    assert client.get(f"/checkpoints/{gone}").status_code == 404
    assert client.get(f"/checkpoints/{gone}/files/config.json").status_code == 404
    name = f"/checkpoints/{found[0]['id']}/files"
    assert client.get(f"{name}/config.json", headers={"range": "bytes=1-1"}).content == b"}"
    assert client.get(f"{name}/manifest.json").status_code == 200
    for outside in ("..%2f..%2f..%2fmodels.json", "other.json"):
        assert client.get(f"{name}/{outside}").status_code == 404


def test_a_spec_without_its_content_type_is_explained(client: TestClient) -> None:
    response = client.post("/jobs", content=b"{}", headers={"content-type": "application/x-www-form-urlencoded"})
    assert "content-type: application/json" in response.json()["detail"]


def test_events_are_paged_as_json_and_replayed_as_a_stream(client: TestClient) -> None:
    job_id = client.post("/jobs", json=body(upload(client))).json()["id"]
    client.post(f"/jobs/{job_id}/cancel")
    first = client.get(f"/jobs/{job_id}/events", params={"limit": 1}).json()
    assert first["has_more"] is True
    assert first["data"][0]["data"] == {"state": "queued"}
    rest = client.get(f"/jobs/{job_id}/events", params={"after": 1}).json()
    assert [event["id"] for event in rest["data"]] == [2]

    def stream(**headers: str) -> list[str]:
        response = client.get(f"/jobs/{job_id}/events", headers={"accept": "text/event-stream", **headers})
        assert response.headers["content-type"].startswith("text/event-stream")
        return [line for line in response.text.splitlines() if line.startswith(("id:", "event:"))]

    assert stream() == ["event: state", "id: 1", "event: state", "id: 2", "event: end"]
    assert stream(**{"last-event-id": "1"}) == ["event: state", "id: 2", "event: end"]


def test_lists_are_paged_newest_first(client: TestClient) -> None:
    dataset = upload(client)
    ids = [client.post("/jobs", json=body(dataset)).json()["id"] for _ in range(3)]
    page = client.get("/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in page["data"]] == ids[:0:-1]
    assert page["has_more"] is True
    last = client.get("/jobs", params={"limit": 2, "after": page["data"][-1]["id"]}).json()
    assert [job["id"] for job in last["data"]] == ids[:1]
    assert last["has_more"] is False


def test_a_job_is_accepted_without_a_broker(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from celery import Celery

    def deaf(*_: object, **__: object) -> None:
        raise OSError("broker is down")

    monkeypatch.setattr(Celery, "send_task", deaf)
    response = client.post("/jobs", json=body(upload(client)))
    assert response.status_code == 201
    assert client.get(f"/jobs/{response.json()['id']}").json()["state"] == "queued"


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("https://teacher.test/v1", 201),
        ("https://teacher.test/v1/", 201),
        ("https://teacher.test/v1/below", 201),
        ("https://teacher.test/v10", 422),
        ("https://teacher.test.evil/v1", 422),
        ("http://teacher.test/v1", 422),
        ("http://127.0.0.1:5432", 422),
    ],
)
def test_a_teachers_address_is_one_that_the_operator_allows(client: TestClient, address: str, status: int) -> None:
    teacher = {"type": "openai", "base_url": address, "model": "big"}
    response = client.post("/jobs", json=body(upload(client, without("reference")), teacher=teacher))
    assert response.status_code == status, response.text
    if status == 422:
        assert response.json()["error"]["param"] == "teacher.base_url"
        assert "UNIAPL_TEACHER_URLS" in response.json()["detail"]


def test_the_openapi_document_describes_everything_and_has_an_example_per_mode(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), f"{method} {path}"
    examples = document["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    modes = {path.stem for path in (ROOT / "examples").glob("*.json")} - {"ablation"}
    assert set(examples) == modes
    assert len(modes) >= 12
    for name, schema in document["components"]["schemas"].items():
        for field, about in schema.get("properties", {}).items():
            assert "description" in about or "const" in about or name.startswith(("HTTP", "Validation")), (
                f"{name}.{field}"
            )


def test_metrics_for_prometheus_count_rows_of_the_database(client: TestClient) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    client.post("/jobs", json=body(upload(client)))
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert found["uniapl_jobs", "queued"] == 1
    assert found["uniapl_jobs", "running"] == 0
    assert found["uniapl_expired_leases",] == 0
    assert found["uniapl_claims_total",] == 0


def started(client: TestClient) -> tuple[str, Path]:
    """A job whose first attempt runs, and the folder of that."""
    job_id = client.post("/jobs", json=body(upload(client))).json()["id"]
    with unit_of_work(engine_of(client)) as session:
        assert lifecycle.claim(session, job_id, owner="w", host="h", boot_id="b", lease_s=60) is not None
    folder = client.app.state.service.artifacts.attempt(job_id, 1)  # type: ignore[attr-defined]
    folder.mkdir(parents=True)
    return job_id, folder


def test_the_log_of_an_attempt_is_read_whole_or_from_where_one_was(client: TestClient) -> None:
    job_id, folder = started(client)
    assert client.get(f"/jobs/{job_id}/logs").json()["error"]["code"] == "log_not_found"
    (folder / "trainer.log").write_bytes("löading\n".encode())
    whole = client.get(f"/jobs/{job_id}/logs")
    assert (whole.text, whole.headers["content-type"]) == ("löading\n", "text/plain; charset=utf-8")
    part = client.get(f"/jobs/{job_id}/logs", headers={"range": "bytes=3-"})
    assert (part.status_code, part.text) == (206, "ading\n")
    assert client.get(f"/jobs/{job_id}/logs", headers={"range": "bytes=9-"}).status_code == 416
    assert client.get(f"/jobs/{job_id}/logs", params={"attempt": 1}).text == "löading\n"
    assert client.get(f"/jobs/{job_id}/logs", params={"attempt": 2}).json()["error"]["code"] == "attempt_not_found"


def test_a_log_that_was_deleted_is_gone_and_not_merely_absent(client: TestClient) -> None:
    job_id, _ = started(client)
    with unit_of_work(engine_of(client)) as session:
        lifecycle.request_cancel(session, job_id)
        lifecycle.cancelled(session, job_id, 1)
    answer = client.get(f"/jobs/{job_id}/logs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "log_gone")


def test_long_series_are_thinned_to_means_of_equal_stretches(client: TestClient) -> None:
    job_id, _ = started(client)
    points = [("loss", step, float(step)) for step in range(1, 101)] + [("rare", 50, 7.0)]
    with unit_of_work(engine_of(client)) as session:
        metrics.put_metrics(session, job_id, 1, points)
    found = client.get(f"/jobs/{job_id}/metrics", params={"max_points": 4}).json()
    assert found["has_more"] is False
    # Four stretches of 25 steps: 1..25 has the mean 13, and so on.
    expected = [("loss", 25, 13.0), ("loss", 50, 38.0), ("rare", 50, 7.0), ("loss", 75, 63.0), ("loss", 100, 88.0)]
    assert [(p["name"], p["step"], p["value"]) for p in found["data"]] == expected
    later = client.get(f"/jobs/{job_id}/metrics", params={"max_points": 1000, "since_step": 98}).json()["data"]
    assert [(p["step"], p["value"]) for p in later] == [(99, 99.0), (100, 100.0)]
    assert client.get(f"/jobs/{job_id}/metrics", params={"max_points": 4, "since_step": 100}).json()["data"] == []
