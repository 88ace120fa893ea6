"""Authorisation: the matrix of routes, scopes and callers, generated from the OpenAPI document."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.main import create_app
from store.access import api_keys
from store.access.api_keys import SCOPES, Scope
from store.db import unit_of_work
from store.settings import Settings
from tests.api.conftest import new_key, upload

pytestmark = pytest.mark.integration

OPEN = {("get", "/healthz"), ("get", "/readyz")}


def routes() -> Iterator[tuple[str, str, str]]:
    """Method, path and scope of every operation."""
    for path, operations in create_app(Settings()).openapi()["paths"].items():
        for method, operation in operations.items():
            if (method, path) not in OPEN:
                [required] = operation["security"]
                [[scope]] = required.values()
                yield method, path, scope


ROUTES = list(routes())


def ask(client: TestClient, method: str, path: str, key: str | None) -> Any:
    """An empty request of that route, with ids that do not exist."""
    filled = path
    for name in ("job_id", "dataset_id", "checkpoint_id", "upload_id", "name", "file_id", "fine_tuning_job_id"):
        filled = filled.replace(f"{{{name}}}", "nobody")
    headers = {"authorization": f"Bearer {key}"} if key else {"authorization": ""}
    return client.request(method, filled, headers=headers)


def refused(response: Any) -> int | None:
    """The status when the caller was not let in."""
    code = response.json()["error"]["code"] if response.status_code in (401, 403) else None
    return response.status_code if code in ("not_authenticated", "missing_scope") else None


def test_every_route_names_one_scope_or_is_known_to_be_open() -> None:
    assert len(ROUTES) >= 20
    assert {scope for _, _, scope in ROUTES} == set(SCOPES)


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES, ids=lambda value: str(value))
def test_a_route_admits_its_scope_and_admin_only(
    unlimited: TestClient, made: dict[str, str], method: str, path: str, scope: str
) -> None:
    found = {name: refused(ask(unlimited, method, path, key)) for name, key in made.items()}
    expected: dict[str, int | None] = {name: None if name in (scope, "admin") else 403 for name in SCOPES}
    assert found == {**expected, "none": 401, "garbage": 401, "altered": 401, "expired": 401, "revoked": 401}


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    from store.migrate import upgrade

    settings = Settings(data_dir=tmp_path_factory.mktemp("matrix"), requests_per_s=10_000)
    upgrade(settings)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def made(unlimited: TestClient) -> dict[str, str]:
    """A key with each scope alone, and such as are none."""
    service = unlimited.app.state.service  # type: ignore[attr-defined]
    found = {scope: new_key(unlimited, scopes=[scope]) for scope in SCOPES}
    with unit_of_work(service.engine) as session:
        both: dict[str, Any] = {"tenant": "default", "name": "dead"}
        _, expired = api_keys.create(session, service.secret_key, expires_in_s=-1, **both)
        gone, revoked = api_keys.create(session, service.secret_key, **both)
        api_keys.revoke(session, gone.id)
    altered = found["admin"][:-1] + ("A" if found["admin"][-1] != "A" else "B")
    return {**found, "none": "", "garbage": "uapl_x", "altered": altered, "expired": expired, "revoked": revoked}


def test_another_tenants_things_are_not_there(client: TestClient) -> None:
    dataset = upload(client)
    spec = {"student": "tiny", "dataset_mix": [{"dataset": dataset}]}
    job = client.post("/jobs", json=spec).json()["id"]
    other = {"authorization": f"Bearer {new_key(client, tenant='other')}"}
    assert client.get(f"/jobs/{job}").status_code == 200
    ids = {"job_id": job, "dataset_id": dataset}
    crawled = 0
    for method, path, _ in ROUTES:
        if any(f"{{{name}}}" in path for name in ids):
            url = path.replace("{job_id}", job).replace("{dataset_id}", dataset)
            answer = client.request(method, url, headers=other)
            assert answer.status_code == 404, (method, url, answer.text)
            crawled += 1
    assert crawled >= 9
    for url in ("/jobs", "/datasets", "/aliases"):
        assert client.get(url, headers=other).json()["data"] == []
    assert client.get("/jobs", params={"after": job}, headers=other).status_code == 404
    assert client.post("/jobs", json=spec, headers=other).json()["error"]["param"] == "dataset_mix.0.dataset"
    assert client.get(f"/jobs/{job}").json()["state"] == "queued"


def test_a_rotated_key_works_beside_the_old_one_until_that_expires(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    with unit_of_work(service.engine) as session:
        old, text = api_keys.create(session, service.secret_key, tenant="t", name="n", scopes=["jobs:read"])
        _, fresh = api_keys.rotate(session, service.secret_key, old.id, grace_s=3600)
    for key in (text, fresh):
        assert client.get("/jobs", headers={"authorization": f"Bearer {key}"}).status_code == 200
    with unit_of_work(service.engine) as session:
        api_keys.rotate(session, service.secret_key, old.id, grace_s=0)
    assert client.get("/jobs", headers={"authorization": f"Bearer {text}"}).status_code == 401
    assert client.get("/jobs", headers={"authorization": f"Bearer {fresh}"}).status_code == 200


def test_the_database_holds_no_key(client: TestClient) -> None:
    from sqlalchemy import text

    key = client.headers["authorization"].removeprefix("Bearer ")
    secret = key.split("_", 2)[2]
    service = client.app.state.service  # type: ignore[attr-defined]
    with unit_of_work(service.engine) as session:
        rows = session.execute(text("SELECT * FROM keys")).all()
    assert len(rows) == 1
    assert secret not in str(rows)


def test_without_keys_only_the_own_machine_is_answered(tmp_path: Any) -> None:
    from store.migrate import upgrade

    settings = Settings(data_dir=tmp_path, auth=False)
    upgrade(settings)
    app = create_app(settings)
    with TestClient(app, base_url="http://127.0.0.1:8000") as near:
        assert near.get("/jobs").status_code == 200
    with TestClient(app, base_url="http://192.168.1.5:8000") as far:
        answer = far.get("/jobs", headers={"x-forwarded-for": "127.0.0.1", "host": "127.0.0.1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "loopback_only")


def test_too_many_requests_get_a_retry_after(tmp_path: Any) -> None:
    from store.migrate import upgrade

    settings = Settings(data_dir=tmp_path, requests_per_s=1)
    upgrade(settings)
    with TestClient(create_app(settings)) as client:
        headers = {"authorization": f"Bearer {new_key(client)}"}
        other = {"authorization": f"Bearer {new_key(client, tenant='other')}"}
        began = time.monotonic()
        answers = [client.get("/jobs", headers=headers) for _ in range(40)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:10] == [200] * 10
        assert statuses.count(200) <= 11 + time.monotonic() - began  # each second lets one more in
        first = answers[statuses.index(429)]
        assert int(first.headers["retry-after"]) >= 1
        assert first.json()["error"]["code"] == "limit_reached"
        assert client.get("/jobs", headers=other).status_code == 200


def test_a_tenant_has_only_so_many_jobs_that_are_not_over(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    service.settings.tenant_jobs = 2
    spec = {"student": "tiny", "dataset_mix": [{"dataset": upload(client)}]}
    made = [client.post("/jobs", json=spec) for _ in range(3)]
    assert [answer.status_code for answer in made] == [201, 201, 429]
    assert made[-1].headers["retry-after"]
    client.post(f"/jobs/{made[0].json()['id']}/cancel")
    assert client.post("/jobs", json=spec).status_code == 201


SCOPE_OF: dict[str, Scope] = {"/jobs": "jobs:read", "/aliases": "checkpoints:read"}


@pytest.mark.parametrize("path", SCOPE_OF)
def test_the_answer_to_a_missing_scope_names_it(client: TestClient, path: str) -> None:
    key = new_key(client, scopes=["datasets:write"])
    answer = client.get(path, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 403
    assert SCOPE_OF[path] in answer.json()["error"]["message"]
