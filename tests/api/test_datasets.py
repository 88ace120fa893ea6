"""/datasets, /models and health over HTTP."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from fastapi.testclient import TestClient

from tests.api.conftest import ROW, upload


def test_an_upload_is_described_by_its_contents(client: TestClient, tmp_path: Path) -> None:
    content = (json.dumps(ROW) + "\n" + json.dumps({"messages": ROW["messages"]}) + "\n").encode()
    answer = client.post("/datasets", params={"name": "two rows"}, content=content)
    assert answer.status_code == 201
    dataset = answer.json()
    assert (dataset["name"], dataset["rows"], dataset["references"], dataset["rewards"]) == ("two rows", 2, 1, 1)
    assert dataset["sha256"] == hashlib.sha256(content).hexdigest()
    assert dataset["bytes"] == len(content)
    assert (tmp_path / "datasets" / f"{dataset['id']}.jsonl").read_bytes() == content
    assert client.get(f"/datasets/{dataset['id']}").json() == dataset
    assert client.get("/datasets").json()["data"] == [dataset]


def test_bad_lines_are_listed_and_nothing_is_stored(client: TestClient, tmp_path: Path) -> None:
    good = json.dumps(ROW) + "\n"
    answer = client.post("/datasets", content=good + '{"messages": []}\n' + "nonsense\n")
    assert answer.status_code == 422
    problem = answer.json()
    assert [(e["line"], e["offset"]) for e in problem["errors"]] == [(2, len(good)), (3, len(good) + 17)]
    assert problem["errors"][0]["reason"].startswith("messages")
    assert "nothing was stored" in problem["detail"]
    assert client.get("/datasets").json()["data"] == []
    assert not any((tmp_path / "datasets").iterdir())


def test_models_lists_the_registry(client: TestClient) -> None:
    assert {(m["id"], m["kind"]) for m in client.get("/models").json()["data"]} == {
        ("tiny", "student"),
        ("all-MiniLM-L6-v2", "discriminator"),
    }


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}


def test_an_unusable_database_is_a_503_that_says_when_to_retry(client: TestClient, tmp_path: Path) -> None:
    from store.db import make_engine

    upload(client)
    service = client.app.state.service  # type: ignore[attr-defined]
    object.__setattr__(service, "engine", make_engine("postgresql+psycopg://nobody@127.0.0.1:9/none"))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["error"]["code"] == "database_unavailable"
    assert client.get("/healthz").status_code == 200


def test_a_database_without_tables_is_not_ready(tmp_path: Path) -> None:
    from api.main import create_app
    from store.settings import Settings

    with TestClient(create_app(Settings(data_dir=tmp_path))) as fresh:
        answer = fresh.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "database_not_migrated"


def test_a_nul_in_a_row_is_refused(client: TestClient) -> None:
    row = {"messages": [{"role": "user", "content": "a\x00b"}]}
    answer = client.post("/datasets", content=json.dumps(row))
    assert answer.status_code == 422
    assert "NUL" in answer.json()["errors"][0]["reason"]
