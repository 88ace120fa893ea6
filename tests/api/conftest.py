"""The API application over a real database of each kind, without a worker."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.main import create_app
from store.access import api_keys
from store.access.api_keys import SCOPES, Scope
from store.db import unit_of_work
from store.settings import Settings

ROW: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Say hello without a comma."}],
    "reference": "Hello!",
    "reward": {"type": "ifeval", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
}


TEACHER = "https://teacher.test/v1"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.full)])
def database(request: pytest.FixtureRequest) -> str:
    """The API runs on both kinds; the queries that differ are tested in `tests/store`."""
    return str(request.param)


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    models = tmp_path / "models.json"
    models.write_text(
        json.dumps(
            {"tiny": {"kind": "student", "path": "tiny"}, "all-MiniLM-L6-v2": {"kind": "discriminator", "path": "m"}}
        )
    )
    settings = Settings(
        data_dir=tmp_path, database_url=database_url, models_file=models, hub_models=[], teacher_urls=[TEACHER]
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        client.headers["authorization"] = f"Bearer {new_key(client)}"
        yield client


def new_key(client: TestClient, tenant: str = "default", scopes: Iterable[Scope] = SCOPES) -> str:
    """A key, made behind the API's back as an operator does."""
    service = client.app.state.service  # type: ignore[attr-defined]
    with unit_of_work(service.engine) as session:
        return api_keys.create(session, service.secret_key, tenant=tenant, name="test", scopes=scopes)[1]


def upload(client: TestClient, *rows: dict[str, Any]) -> str:
    """Upload rows; returns the dataset's id."""
    body = "\n".join(json.dumps(row) for row in rows or (ROW,))
    response = client.post("/datasets", params={"name": "rows"}, content=body)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])
