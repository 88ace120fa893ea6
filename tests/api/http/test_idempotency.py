"""`Idempotency-Key`: one effect, one response."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text

from store import idempotency
from store.db import reading, unit_of_work
from store.tables import Dataset, IdempotentResponse, Job
from tests.api.conftest import new_key, upload

pytestmark = pytest.mark.integration

KEY = {"idempotency-key": "order-1"}


def count(client: TestClient, table: Any) -> int:
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    with reading(engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_the_same_post_again_is_answered_as_the_first_time(client: TestClient) -> None:
    spec = {"student": "tiny", "dataset_mix": [{"dataset": upload(client)}]}
    first = client.post("/jobs", json=spec, headers=KEY)
    client.post(f"/jobs/{first.json()['id']}/cancel")
    again = client.post("/jobs", json=spec, headers=KEY)
    assert (again.status_code, again.json()) == (201, first.json())  # though it is cancelled by now
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert count(client, Job) == 1


def test_the_key_with_another_body_or_path_is_a_conflict_that_is_not_to_be_retried(client: TestClient) -> None:
    spec = {"student": "tiny", "dataset_mix": [{"dataset": upload(client)}]}
    job = client.post("/jobs", json=spec, headers=KEY).json()["id"]
    for url, body in (("/jobs", {**spec, "seed": 5}), (f"/jobs/{job}/pause", None)):
        answer = client.post(url, json=body, headers=KEY)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_key_reused")
        assert answer.headers["x-should-retry"] == "false"
    assert count(client, Job) == 1


def test_keys_of_different_tenants_have_nothing_to_do_with_each_other(client: TestClient) -> None:
    made = []
    for tenant in ("one", "two"):
        client.headers["authorization"] = f"Bearer {new_key(client, tenant=tenant)}"
        spec = {"student": "tiny", "dataset_mix": [{"dataset": upload(client)}]}
        made.append(client.post("/jobs", json=spec, headers=KEY).json()["id"])
    assert len(set(made)) == 2


def test_a_request_that_failed_leaves_its_key_free(client: TestClient) -> None:
    spec = {"student": "tiny", "dataset_mix": [{"dataset": "ds_nope"}]}
    assert client.post("/jobs", json=spec, headers=KEY).status_code == 422
    spec["dataset_mix"] = [{"dataset": upload(client)}]
    assert client.post("/jobs", json=spec, headers=KEY).status_code == 201


def test_fifty_equal_requests_at_once_make_one_job(client: TestClient) -> None:
    spec = {"student": "tiny", "dataset_mix": [{"dataset": upload(client)}]}
    answers: list[Any] = []
    begin = threading.Barrier(50)

    def post() -> None:
        begin.wait()
        answers.append(client.post("/jobs", json=spec, headers=KEY))

    threads = [threading.Thread(target=post) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert count(client, Job) == 1


@pytest.mark.parametrize("again", ["same", "other"])
def test_an_upload_under_a_key_is_stored_once(client: TestClient, again: str) -> None:
    row = b'{"messages": [{"role": "user", "content": "a"}], "reference": "b"}'
    first = client.post("/datasets", content=row, headers=KEY)
    second = client.post("/datasets", content=row if again == "same" else row + b"\n" + row, headers=KEY)
    assert first.status_code == 201
    assert second.status_code == (201 if again == "same" else 409)
    assert again == "other" or second.json() == first.json()
    assert count(client, Dataset) == 1
    folder = client.app.state.service.artifacts.dataset("x").parent  # type: ignore[attr-defined]
    assert len(list(folder.iterdir())) == 1


def test_a_pause_under_a_key_that_comes_late_does_not_undo_the_resume_after_it(client: TestClient) -> None:
    spec = {"student": "tiny", "dataset_mix": [{"dataset": upload(client)}]}
    job = client.post("/jobs", json=spec).json()["id"]
    assert client.post(f"/jobs/{job}/pause", headers=KEY).json()["state"] == "paused"
    assert client.post(f"/jobs/{job}/resume").json()["state"] == "queued"
    assert client.post(f"/jobs/{job}/pause", headers=KEY).json()["state"] == "paused"  # the first answer, again
    assert client.get(f"/jobs/{job}").json()["state"] == "queued"


def test_after_seven_days_a_key_is_free_again(client: TestClient) -> None:
    spec = {"student": "tiny", "dataset_mix": [{"dataset": upload(client)}]}
    client.post("/jobs", json=spec, headers=KEY)
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    with unit_of_work(engine) as session:
        session.execute(text("UPDATE answers SET created_at = created_at - 604801"))
        idempotency.delete_expired(session)
    assert "idempotency-replayed" not in client.post("/jobs", json=spec, headers=KEY).headers
    assert (count(client, Job), count(client, IdempotentResponse)) == (2, 1)
