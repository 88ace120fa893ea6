"""`/secrets`, and references to secrets in job specs: no response has a value."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from store.access import secrets
from store.access.keyring import SecretKey
from store.access.secrets import SecretUnusable
from store.access.url_allowlist import ANY_PUBLIC, is_listed
from store.db import reading, unit_of_work
from store.jobs import lifecycle
from store.tables import Secret
from tests.api.conftest import TEACHER, new_key, upload
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.integration

VALUE = "sk-canary-0123456789-abcdef"


def put(client: TestClient, name: str = "big", value: Any = VALUE, **options: Any) -> Any:
    return client.put(f"/secrets/{name}", json={"value": value}, **options)


def job(client: TestClient, **teacher: Any) -> Any:
    """Post a job whose teacher has these fields."""
    given = {"type": "openai", "base_url": TEACHER, "model": "m", **teacher}
    spec = {"student": "tiny", "dataset_mix": [{"dataset": upload(client)}], "teacher": given}
    return client.post("/jobs", json=spec)


def names(client: TestClient, **options: Any) -> list[str]:
    return [secret["name"] for secret in client.get("/secrets", **options).json()["data"]]


def opened(client: TestClient, name: str = "big", tenant: str = "default") -> str:
    service = client.app.state.service  # type: ignore[attr-defined]
    with reading(service.engine) as session:
        return secrets.value(session, service.secret_key, tenant, name)


def test_a_secret_is_stored_replaced_listed_and_deleted_and_never_shown(client: TestClient) -> None:
    first = put(client)
    assert first.status_code == 200
    assert set(first.json()) == {"name", "object", "updated_at"}
    time.sleep(0.01)
    second = put(client, value="sk-another-value")
    assert second.json()["updated_at"] > first.json()["updated_at"]
    assert opened(client) == "sk-another-value"
    put(client, "a.second-1_name")
    listed = client.get("/secrets")
    assert names(client) == ["a.second-1_name", "big"]
    assert client.delete("/secrets/big").status_code == 204
    again = client.delete("/secrets/big")
    assert (again.status_code, again.json()["error"]["code"]) == (404, "secret_not_found")
    assert names(client) == ["a.second-1_name"]
    for answer in (first, second, listed, again):
        assert "sk-" not in answer.text
    assert client.get("/secrets/big").status_code == 405


@pytest.mark.parametrize(
    "body",
    [
        {"value": "short"},
        {"value": "canary" + "x" * 4096},
        {"value": "canary with blanks"},
        {"value": "canary-with\nline-end"},
        {"value": "canary-with-\x00-nul"},
        {"value": "canary-with-é-beyond-ascii"},
        {"value": ["canary-in-a-list"]},
        {"value": {"canary-as-a-key": 1}},
        {"valeu": "canary-misspelt"},
        {"value": VALUE, "more": "canary-more"},
        "canary-alone",
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(client: TestClient, body: Any) -> None:
    answer = client.put("/secrets/big", json=body)
    assert answer.status_code == 422
    assert "canary" not in answer.text
    assert names(client) == []


@pytest.mark.parametrize("name", ["Big", "-big", "b" * 97, "b%20g", "..", "big%0A", "ä"])
def test_names_are_checked(client: TestClient, name: str) -> None:
    assert put(client, name).status_code in (404, 405, 422)
    assert names(client) == []


def test_another_tenant_sees_and_touches_nothing(client: TestClient) -> None:
    put(client)
    other = {"authorization": f"Bearer {new_key(client, tenant='other')}"}
    assert names(client, headers=other) == []
    assert client.delete("/secrets/big", headers=other).status_code == 404
    assert put(client, value="sk-of-the-other", headers=other).status_code == 200
    assert (opened(client), opened(client, tenant="other")) == (VALUE, "sk-of-the-other")
    assert client.delete("/secrets/big", headers=other).status_code == 204
    assert opened(client) == VALUE


def test_reading_names_and_writing_values_are_different_scopes(client: TestClient) -> None:
    reader = {"authorization": f"Bearer {new_key(client, scopes=['jobs:read'])}"}
    assert client.get("/secrets", headers=reader).status_code == 200
    assert put(client, headers=reader).status_code == 403
    assert client.delete("/secrets/big", headers=reader).status_code == 403


def test_the_database_holds_no_value_and_a_row_is_of_no_use_elsewhere(client: TestClient) -> None:
    put(client)
    service = client.app.state.service  # type: ignore[attr-defined]
    with unit_of_work(service.engine) as session:
        rows = session.execute(text("SELECT * FROM secrets")).all()
        [sealed] = [row.sealed for row in rows]
        session.add(Secret(tenant="other", name="big", sealed=sealed))
        session.add(Secret(tenant="default", name="other", sealed=sealed))
    assert VALUE not in str(rows)
    for tenant, name in (("other", "big"), ("default", "other")):
        with pytest.raises(SecretUnusable, match="under another name"):
            opened(client, name, tenant)
    with reading(service.engine) as session, pytest.raises(SecretUnusable, match="with another key"):
        secrets.value(session, SecretKey(["x" * 64]), "default", "big")
    with reading(service.engine) as session:
        assert secrets.value(session, _rotated(service.settings.data_dir), "default", "big") == VALUE


def _rotated(folder: Path) -> SecretKey:
    return SecretKey(["y" * 64, (folder / "secret.key").read_text().strip()])


# References in specs


def test_a_job_names_a_secret_that_there_is(client: TestClient) -> None:
    missing = job(client, api_key_secret="big")
    assert missing.status_code == 422
    assert missing.json()["error"]["param"] == "teacher.api_key_secret"
    assert "PUT /secrets/{name}" in missing.json()["detail"]
    put(client)
    accepted = job(client, api_key_secret="big")
    assert accepted.status_code == 201
    assert accepted.json()["spec"]["teacher"]["api_key_secret"] == "big"
    other = {"authorization": f"Bearer {new_key(client, tenant='other')}"}
    client.headers.update(other)
    assert job(client, api_key_secret="big").json()["error"]["param"] == "teacher.api_key_secret"


def test_a_key_in_place_of_its_name_is_refused_and_not_repeated(client: TestClient) -> None:
    answer = job(client, api_key_secret="SK-Canary-0123456789")
    assert answer.json()["error"]["param"] == "teacher.api_key_secret"
    assert "Canary" not in answer.text


def test_variables_of_the_services_environment_are_not_for_specs(client: TestClient) -> None:
    answer = job(client, api_key_env="OPENAI_API_KEY")
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "teacher.api_key_env")
    assert "PUT /secrets/{name}" in answer.json()["detail"]
    both = job(client, api_key_env="OPENAI_API_KEY", api_key_secret="big")
    assert (both.status_code, both.json()["error"]["param"]) == (422, "teacher.api_key_env")


def test_a_secret_that_an_open_job_names_is_not_deleted(client: TestClient) -> None:
    put(client)
    put(client, "spare")
    created = job(client, api_key_secret="big").json()["id"]
    answer = client.delete("/secrets/big")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "secret_in_use")
    assert created in answer.json()["detail"]
    assert answer.headers["x-should-retry"] == "false"
    assert client.delete("/secrets/spare").status_code == 204
    client.post(f"/jobs/{created}/pause")
    assert client.delete("/secrets/big").status_code == 409
    client.post(f"/jobs/{created}/cancel")
    assert client.delete("/secrets/big").status_code == 204


def test_a_secret_cannot_be_deleted_while_a_job_that_names_it_is_being_created(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    put(client)
    teacher = {"type": "openai", "base_url": TEACHER, "model": "m", "api_key_secret": "big"}
    spec = JobSpec.model_validate({"student": "tiny", "dataset_mix": [{"dataset": "ds_1"}], "teacher": teacher})
    answers: list[Any] = []
    with unit_of_work(service.engine) as session:  # as in POST /jobs: the secret is needed, the job not yet there
        secrets.need(session, "big")
        deleting = threading.Thread(target=lambda: answers.append(client.delete("/secrets/big")))
        deleting.start()
        time.sleep(0.5)
        lifecycle.create(session, spec, {})
    deleting.join(30)
    assert [answer.status_code for answer in answers] == [409]


# Addresses


@pytest.fixture
def open_client(client: TestClient) -> TestClient:
    """The operator allows every public server, and one inside."""
    service = client.app.state.service  # type: ignore[attr-defined]
    service.settings.teacher_urls = ["http://127.0.0.1:9/v1", ANY_PUBLIC]
    return client


@pytest.mark.parametrize(
    ("address", "found", "status"),
    [
        ("https://teacher.example/v1", ["93.184.216.34"], 201),
        ("https://teacher.example/v1", ["93.184.216.34", "10.0.0.1"], 422),
        ("https://teacher.example/v1", ["127.0.0.1"], 422),
        ("https://teacher.example/v1", ["169.254.169.254"], 422),
        ("https://teacher.example/v1", ["::1"], 422),
        ("https://teacher.example/v1", ["::ffff:10.0.0.1"], 422),
        ("https://teacher.example/v1", ["64:ff9b::a9fe:a9fe"], 422),
        ("https://teacher.example/v1", [], 422),
        ("http://teacher.example/v1", ["93.184.216.34"], 422),
        ("https://2130706433/v1", ["127.0.0.1"], 422),
        ("https://0177.0.0.1/v1", ["127.0.0.1"], 422),
        ("https://0x7f.0.0.1/v1", ["127.0.0.1"], 422),
        ("http://127.0.0.1:9/v1", [], 201),
        ("http://127.0.0.1:10/v1", [], 422),
        ("http://127.0.0.1:9/v1/../admin", [], 422),
    ],
)
def test_an_address_that_is_not_listed_must_be_public(
    open_client: TestClient, monkeypatch: pytest.MonkeyPatch, address: str, found: list[str], status: int
) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if host != "teacher.example":
            return real(host, *args, **options)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (entry, 443)) for entry in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    answer = job(open_client, base_url=address)
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.json()["error"]["param"] == "teacher.base_url"


@pytest.mark.parametrize(
    ("address", "listed"),
    [
        ("https://inside.example/v1", True),
        ("https://INSIDE.example:443/v1/", True),
        ("https://inside.example/v1/below", True),
        ("https://inside.example/v1/../v2", False),
        ("https://inside.example/v1/%2e%2E/v2", False),
        ("https://inside.example/v10", False),
        ("https://inside.example.evil/v1", False),
        ("http://inside.example/v1", False),
        ("https://anything.example/v1", False),
        ("https://*/v1", False),
        ("http://[bad/v1", False),
    ],
)
def test_what_is_below_a_listed_address_is_listed(address: str, listed: bool) -> None:
    assert is_listed(address, ["https://inside.example/v1/", ANY_PUBLIC]) == listed
