"""Every request and response: request id, headers, limits of the body, the shape of errors."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.http.body import MAX_DEPTH

pytestmark = pytest.mark.integration


def test_every_answer_has_an_id_the_version_and_the_security_headers(client: TestClient) -> None:
    for url, status in (("/healthz", 200), ("/jobs", 200), ("/jobs/nobody", 404), ("/nowhere", 404)):
        answer = client.get(url)
        assert answer.status_code == status
        assert answer.headers["x-request-id"].startswith("req_")
        assert answer.headers["x-uniapl-version"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


def test_a_callers_own_request_id_is_kept_if_it_is_harmless(client: TestClient) -> None:
    assert client.get("/jobs", headers={"x-request-id": "trace-1.2_3"}).headers["x-request-id"] == "trace-1.2_3"
    for bad in ("a b", "x" * 65, "<script>", ""):
        assert client.get("/jobs", headers={"x-request-id": bad}).headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("method", "url", "status", "code"),
    [
        ("get", "/nowhere", 404, "route_not_found"),
        ("patch", "/jobs", 405, "method_not_allowed"),
        ("get", "/jobs?limit=0", 422, "invalid_request"),
        ("post", "/jobs", 422, "invalid_request"),
        ("get", "/jobs/nobody", 404, "job_not_found"),
    ],
)
def test_the_frameworks_errors_have_the_same_shape(
    client: TestClient, method: str, url: str, status: int, code: str
) -> None:
    answer = client.request(method, url)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["error"]["code"]) == (status, status, code)
    assert problem["detail"] == problem["error"]["message"]


def test_an_unexpected_exception_is_a_bare_500_and_is_logged(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret path /data/x, SELECT * FROM jobs")

    monkeypatch.setattr("store.jobs.lifecycle.get", broken)
    with caplog.at_level(logging.ERROR):
        answer = client.get("/jobs/nobody")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert not any(word in answer.text for word in ("SELECT", "/data", "RuntimeError", "Traceback"))
    assert answer.headers["x-request-id"] in caplog.text
    assert "secret path" in caplog.text


@pytest.mark.parametrize("path", ["/jobs", "/jobs/job_1/cancel", "/aliases/served"])
def test_a_body_that_is_too_long_is_not_read_to_its_end(client: TestClient, path: str) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        for _ in range(1000):
            sent += 1 << 20
            yield b" " * (1 << 20)

    answer = client.request("PUT" if "aliases" in path else "POST", path, content=endless())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_of_a_body_announced_too_long_the_key_is_checked_first_and_the_problem_has_our_shape(
    client: TestClient,
) -> None:
    body = b" " * (2 << 20)
    for headers, expected in (({}, (413, "too_large")), ({"authorization": "Bearer x"}, (401, "not_authenticated"))):
        answer = client.post("/jobs", content=body, headers=headers)
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, answer.json()["error"]["code"]) == expected


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_that_is_nested_too_deep_is_refused_before_it_is_parsed(client: TestClient, opening: str) -> None:
    answer = client.post("/jobs", content=opening * 100_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_deep")


def test_brackets_inside_strings_do_not_count_as_depth(client: TestClient) -> None:
    text = '"' + "[" * (MAX_DEPTH + 1) + '\\"' + "{" * (MAX_DEPTH + 1)
    answer = client.post(
        "/jobs", content=f'{{"name": {json.dumps(text)}}}', headers={"content-type": "application/json"}
    )
    assert answer.json()["error"]["code"] == "invalid_request"  # and not too_deep


def test_a_body_that_is_no_text_is_refused(client: TestClient) -> None:
    answer = client.post("/jobs", content=b'{"name": "\xff"}', headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    "path", ["/jobs/a%00b", "/jobs?after=%00", "/datasets/%00", "/aliases/a?x=%00", "/v1/files/%00"]
)
def test_nul_in_an_address_is_no_failure_of_ours(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (404, 422)


def test_nul_in_an_id_is_no_server_error(client: TestClient) -> None:
    for path, body in [
        ("/v1/fine_tuning/jobs", {"model": "tiny", "training_file": "a\0"}),
        ("/jobs", {"student": "tiny", "dataset_mix": [{"dataset": "a\0"}]}),
    ]:
        assert client.post(path, json=body).status_code == 422
    assert client.put("/aliases/a", json={"checkpoint_id": "a\0", "version": 0}).status_code in (404, 422)


def test_no_line_of_the_log_is_a_callers(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "api.http.middleware"):
        client.get("/jobs/a%0Ab")
    lines = [record.getMessage() for record in caplog.records if record.name == "api.http.middleware"]
    assert lines == ["GET /jobs/a%0Ab 404"]
