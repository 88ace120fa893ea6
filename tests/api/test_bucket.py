"""Datasets in a bucket, with API processes that share no disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.main import create_app
from store.artifacts import s3 as store_bucket
from store.settings import Settings
from tests.api.conftest import ROW, new_key, upload
from tests.faults.servers import free_port

pytestmark = pytest.mark.integration

LINES = (json.dumps(ROW) + "\n").encode() * 3
SPEC = {"student": "tiny", "alpha": 1.0, "lambda_adv": 0.0, "schedule": {"steps": 1, "prompts_per_step": 1}}
Api = Callable[[str], TestClient]


@pytest.fixture
def api(bucket: str, database_url: str, tmp_path: Path) -> Iterator[Api]:
    """Makes an API process with a data folder of its own; all of them have one database, bucket and secret key."""
    models = tmp_path / "models.json"
    models.write_text(json.dumps({"tiny": {"kind": "student", "path": "tiny"}}))
    (tmp_path / "secret.key").write_text("k" * 64)
    made = []

    def start(name: str) -> TestClient:
        settings = Settings(
            data_dir=tmp_path / name,
            artifacts_url=bucket,
            database_url=database_url,
            models_file=models,
            hub_models=[],
            secret_key_file=tmp_path / "secret.key",
        )
        settings.data_dir.mkdir(exist_ok=True)
        client = TestClient(create_app(settings), raise_server_exceptions=False)
        client.__enter__()
        made.append(client)
        client.headers["authorization"] = f"Bearer {new_key(client)}"
        return client

    yield start
    for client in made:
        client.__exit__(None, None, None)


def objects(client: TestClient) -> set[str]:
    found: set[str] = client.app.state.service.artifacts.objects.datasets()  # type: ignore[attr-defined]
    return found


def by_form(client: TestClient) -> str:
    answer = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("rows.jsonl", LINES)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def in_pieces(client: TestClient) -> str:
    upload_id = client.post("/uploads", json={"bytes": len(LINES)}).json()["id"]
    client.patch(f"/uploads/{upload_id}", headers={"upload-offset": "0"}, content=LINES)
    answer = client.post(f"/uploads/{upload_id}/complete")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("how", [upload, by_form, in_pieces])
def test_what_one_process_was_sent_another_shows_and_deletes(api: Api, how: Any, tmp_path: Path) -> None:
    one, two, three = (api(name) for name in ("one", "two", "three"))
    dataset_id = how(one)
    assert two.get(f"/datasets/{dataset_id}/preview").json()["data"][0]["reference"] == ROW["reference"]
    assert three.get(f"/datasets/{dataset_id}/statistics").json()["references"] in (1, 3)
    content = two.get(f"/v1/files/{dataset_id}/content")
    assert json.loads(content.content.splitlines()[0])["reference"] == ROW["reference"]
    part = two.get(f"/v1/files/{dataset_id}/content", headers={"range": "bytes=2-9"})
    assert (part.status_code, part.content) == (206, content.content[2:10])
    assert two.delete(f"/datasets/{dataset_id}").status_code == 204
    assert objects(two) == set()
    assert not list((tmp_path / "two" / "datasets").iterdir())


def test_a_job_is_estimated_and_admitted_where_its_dataset_did_not_arrive(api: Api, tmp_path: Path) -> None:
    one, two = api("one"), api("two")
    spec = SPEC | {"dataset_mix": [{"dataset": upload(one), "role": "sft"}]}
    found = two.post("/jobs/estimate", json=spec).json()
    assert found["roles"]
    assert list((tmp_path / "two" / "datasets").iterdir())
    assert two.post("/jobs", json=spec).status_code == 201


def test_of_a_request_that_comes_twice_one_file_stays(api: Api) -> None:
    client = api("one")
    for body, status in ((LINES, 201), (LINES, 201), (LINES * 2, 409)):
        answer = client.post("/datasets", content=body, headers={"idempotency-key": "k"})
        assert answer.status_code == status
    assert len(objects(client)) == 1


def test_while_the_bucket_is_away_nothing_is_half_kept_and_uploads_wait(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: str
) -> None:
    monkeypatch.setattr(store_bucket, "GIVE_UP", timedelta(seconds=1))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    cut_off = api("cut-off")
    answer = cut_off.post("/datasets", content=LINES)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable")
    upload_id = cut_off.post("/uploads", json={"bytes": len(LINES)}).json()["id"]
    cut_off.patch(f"/uploads/{upload_id}", headers={"upload-offset": "0"}, content=LINES)
    assert cut_off.post(f"/uploads/{upload_id}/complete").status_code == 503
    assert cut_off.get("/datasets").json()["data"] == []
    assert [path.name for path in (tmp_path / "cut-off" / "datasets").iterdir()] == [f".{upload_id}.part"]

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    assert api("cut-off").post(f"/uploads/{upload_id}/complete").status_code == 201
