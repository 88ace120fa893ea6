"""`/uploads`: resumed, concurrent, interrupted, damaged and aborted uploads."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.deps import Service
from store.datasets import uploads
from store.db import unit_of_work
from store.errors import Conflict
from store.tables import Upload
from tests.api.conftest import ROW
from tests.conftest import ROOT
from worker import cleanup

pytestmark = pytest.mark.integration

DATA = gzip.compress((ROOT / "examples" / "data" / "train.jsonl").read_bytes(), mtime=0)
SHA256 = hashlib.sha256(DATA).hexdigest()


def service_of(client: TestClient) -> Service:
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service


def begin(client: TestClient, data: bytes = DATA, **fields: Any) -> str:
    answer = client.post("/uploads", json={"name": "train", "bytes": len(data), **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def send(client: TestClient, upload_id: str, offset: int, data: bytes) -> Any:
    return client.patch(f"/uploads/{upload_id}", headers={"upload-offset": str(offset)}, content=data)


def files(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "datasets").iterdir()}


def test_a_dataset_comes_in_pieces(client: TestClient, tmp_path: Path) -> None:
    upload_id = begin(client, sha256=SHA256, filename="train.jsonl.gz")
    for offset in range(0, len(DATA), 5000):
        assert client.get(f"/uploads/{upload_id}").json()["offset"] == offset
        answer = send(client, upload_id, offset, DATA[offset : offset + 5000])
        assert answer.status_code == 200
    assert answer.json()["offset"] == answer.json()["bytes"] == len(DATA)
    dataset = client.post(f"/uploads/{upload_id}/complete")
    assert dataset.status_code == 201
    assert (dataset.json()["name"], dataset.json()["rows"], dataset.json()["sha256"]) == ("train", 201, SHA256)
    assert client.post(f"/uploads/{upload_id}/complete").json() == dataset.json()
    assert client.get(f"/uploads/{upload_id}").json()["dataset_id"] == dataset.json()["id"]
    assert client.get(f"/datasets/{dataset.json()['id']}").json() == dataset.json()
    assert files(tmp_path) == {f"{dataset.json()['id']}.jsonl"}
    assert send(client, upload_id, len(DATA), b"").status_code == 200
    assert send(client, upload_id, len(DATA), b"x").status_code == 413


def test_the_name_is_the_files_where_none_is_given(client: TestClient) -> None:
    for given, name in (({"filename": "rows.parquet"}, "rows.parquet"), ({}, "dataset")):
        assert client.post("/uploads", json={"bytes": 1, **given}).json()["name"] == name


def test_bytes_at_a_wrong_offset_are_refused_with_the_right_one(client: TestClient) -> None:
    upload_id = begin(client)
    assert send(client, upload_id, 0, DATA[:1000]).status_code == 200
    for offset in (0, 999, 1001, len(DATA)):
        answer = send(client, upload_id, offset, DATA[offset:])
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "upload_offset")
        assert "continue at offset 1000" in answer.json()["detail"]
    answer = send(client, upload_id, 1000, DATA[1000:] + b"x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    answer = client.post(f"/uploads/{upload_id}/complete")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "upload_incomplete")
    assert send(client, upload_id, 1000, DATA[1000:]).status_code == 200
    assert client.post(f"/uploads/{upload_id}/complete").status_code == 201


@pytest.mark.parametrize(
    "body", [{}, {"bytes": 0}, {"bytes": 8 * 1024**3 + 1}, {"bytes": 9, "sha256": "x"}, {"bytes": 9, "name": ""}]
)
def test_what_cannot_be_begun(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/uploads", json=body)
    assert answer.status_code == (413 if body.get("bytes", 0) > 9 else 422)


def test_an_unknown_upload_is_a_404(client: TestClient) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/complete")):
        answer = client.request(method, f"/uploads/up_nope{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "upload_not_found")
    assert send(client, "up_nope", 0, b"x").status_code == 404
    assert client.patch("/uploads/up_nope", content=b"x").status_code == 422


@pytest.mark.parametrize(
    ("data", "fields", "text"),
    [
        (DATA[:-5], {}, "truncated"),
        (DATA, {"sha256": "0" * 64}, f"have SHA-256 {SHA256}"),
        (b'{"messages": []}\n', {}, "line 1: messages"),
        (gzip.compress(b"\n" * 30_000_000, mtime=0), {}, "times their size"),
    ],
)
def test_what_is_refused_in_the_end_is_gone(
    client: TestClient, tmp_path: Path, data: bytes, fields: dict[str, Any], text: str
) -> None:
    upload_id = begin(client, data, **fields)
    assert send(client, upload_id, 0, data).status_code == 200
    answer = client.post(f"/uploads/{upload_id}/complete")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_dataset")
    assert text in answer.json()["detail"]
    assert client.get(f"/uploads/{upload_id}").status_code == 404
    assert files(tmp_path) == set()
    assert client.get("/datasets").json()["data"] == []


def test_an_upload_is_given_up(client: TestClient, tmp_path: Path) -> None:
    upload_id = begin(client)
    send(client, upload_id, 0, DATA[:1000])
    assert client.delete(f"/uploads/{upload_id}").status_code == 204
    assert files(tmp_path) == set()
    assert client.delete(f"/uploads/{upload_id}").status_code == 404


def test_a_dataset_outlives_its_upload(client: TestClient) -> None:
    upload_id = begin(client)
    send(client, upload_id, 0, DATA)
    dataset = client.post(f"/uploads/{upload_id}/complete").json()
    assert client.delete(f"/uploads/{upload_id}").status_code == 204
    assert client.get(f"/datasets/{dataset['id']}/preview").status_code == 200


def test_after_a_crash_the_row_has_the_offset_to_continue_at(client: TestClient, tmp_path: Path) -> None:
    """Bytes that were written and not counted are cut off, whatever they are."""
    upload_id = begin(client, sha256=SHA256)
    send(client, upload_id, 0, DATA[:1000])
    with service_of(client).artifacts.upload(upload_id).open("ab") as file:
        file.write(b"written by a process that died before its commit" * 1000)
    assert send(client, upload_id, 1000, DATA[1000:]).json()["offset"] == len(DATA)
    assert client.post(f"/uploads/{upload_id}/complete").status_code == 201


def test_a_file_that_has_lost_something_is_not_added_to(client: TestClient) -> None:
    upload_id = begin(client)
    send(client, upload_id, 0, DATA[:1000])
    path = service_of(client).artifacts.upload(upload_id)
    path.write_bytes(DATA[:999])
    answer = send(client, upload_id, 1000, DATA[1000:])
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "upload_damaged")
    path.unlink()
    assert send(client, upload_id, 1000, DATA[1000:]).json()["error"]["code"] == "upload_damaged"
    with unit_of_work(service_of(client).engine) as session:
        session.get_one(Upload, upload_id).offset = len(DATA)
    assert client.post(f"/uploads/{upload_id}/complete").json()["error"]["code"] == "upload_damaged"


def test_of_many_writers_at_one_offset_one_wins(client: TestClient) -> None:
    """Each writes its own letter; the file is one writer's, block for block."""
    size, writers = 1000, 8
    upload_id = begin(client, b"x" * size * 5)
    service = service_of(client)
    won: list[list[int]] = []
    lost: list[str] = []

    def write(number: int, offset: int, barrier: threading.Barrier) -> None:
        barrier.wait()
        path = service.artifacts.upload(upload_id)
        try:
            with unit_of_work(service.engine) as session:
                uploads.append(session, service.settings, path, upload_id, offset, bytes([65 + number]) * size)
            won[-1].append(number)
        except Conflict as error:
            lost.append(error.code)

    for block in range(5):
        won.append([])
        barrier = threading.Barrier(writers)
        threads = [threading.Thread(target=write, args=(number, block * size, barrier)) for number in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [len(winners) for winners in won] == [1] * 5
    assert lost == ["upload_offset"] * 5 * (writers - 1)
    expected = b"".join(bytes([65 + winners[0]]) * size for winners in won)
    assert service.artifacts.upload(upload_id).read_bytes() == expected


def test_who_completes_twice_at_once_gets_one_dataset(client: TestClient, tmp_path: Path) -> None:
    upload_id = begin(client)
    send(client, upload_id, 0, DATA)
    answers: list[Any] = []
    barrier = threading.Barrier(4)

    def complete() -> None:
        barrier.wait()
        answers.append(client.post(f"/uploads/{upload_id}/complete"))

    threads = [threading.Thread(target=complete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 4, [answer.text for answer in answers]
    (dataset,) = client.get("/datasets").json()["data"]
    assert {answer.json()["id"] for answer in answers} == {dataset["id"]}
    assert files(tmp_path) == {f"{dataset['id']}.jsonl"}


def test_the_loser_of_two_completions_leaves_no_file(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.routes import uploads as routes

    upload_id = begin(client)
    send(client, upload_id, 0, DATA)
    first: list[Any] = []
    finish = routes.Ingest.finish

    def slow(self: Any, *args: Any) -> Any:
        monkeypatch.setattr(routes.Ingest, "finish", finish)
        row = finish(self, *args)
        first.append(client.post(f"/uploads/{upload_id}/complete").json())
        return row

    monkeypatch.setattr(routes.Ingest, "finish", slow)
    answer = client.post(f"/uploads/{upload_id}/complete")
    assert answer.json() == first[0]
    assert files(tmp_path) == {f"{first[0]['id']}.jsonl"}


def test_an_upload_expires_when_nothing_is_added(client: TestClient, tmp_path: Path) -> None:
    service = service_of(client)
    fresh, stale, done = begin(client), begin(client), begin(client)
    for upload_id in (fresh, stale, done):
        send(client, upload_id, 0, DATA)
    dataset = client.post(f"/uploads/{done}/complete").json()["id"]
    with unit_of_work(service.engine) as session:
        for upload_id in (stale, done):
            session.get_one(Upload, upload_id).expires_at -= service.settings.upload_expiry_s + 1
    cleanup.clear(service.engine, service.artifacts)
    assert [client.get(f"/uploads/{upload_id}").status_code for upload_id in (fresh, stale, done)] == [200, 404, 404]
    assert files(tmp_path) == {f"{dataset}.jsonl", f".{fresh}.part"}
    assert client.post(f"/uploads/{fresh}/complete").status_code == 201


def test_every_piece_puts_off_the_end(client: TestClient) -> None:
    service, upload_id = service_of(client), begin(client)
    with unit_of_work(service.engine) as session:
        session.get_one(Upload, upload_id).expires_at -= 1000
    before = client.get(f"/uploads/{upload_id}").json()["expires_at"]
    assert send(client, upload_id, 0, DATA[:10]).json()["expires_at"] > before + 900


def test_rows_of_ours_come_that_way_too(client: TestClient) -> None:
    data = json.dumps(ROW).encode()
    upload_id = begin(client, data)
    send(client, upload_id, 0, data)
    assert client.post(f"/uploads/{upload_id}/complete").json()["rewards"] == 1
