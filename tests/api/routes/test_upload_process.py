"""Uploads to a real API process: memory, and cleanup after a broken connection."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.server import Api
from benchmarks.upload import KINDS, MB, lines, measure
from tests.e2e.conftest import wait_for

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in ("jsonl", "resumed") else pytest.mark.full) for kind in KINDS]
)
def test_memory_does_not_grow_with_an_upload(tmp_path: Path, kind: str) -> None:
    found = measure(kind, 100 * MB, tmp_path)
    assert found.rows > 90_000
    assert found.growth < 64 * MB
    assert found.child < 160 * MB  # of which 75 are the libraries that read Parquet


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = Api(tmp_path)
    yield api
    api.close()


@pytest.mark.parametrize("sent", [10_000, 5 * MB])
def test_what_came_before_the_connection_broke_is_kept(api: Api, sent: int) -> None:
    data = b"".join(lines(8 * MB))
    upload = f"/uploads/{api.http.post('/uploads', json={'bytes': len(data)}).json()['id']}"
    sender = f"host: x\r\nauthorization: {api.headers['authorization']}"
    head = f"PATCH {upload} HTTP/1.1\r\n{sender}\r\nupload-offset: 0\r\ncontent-length: {len(data)}\r\n\r\n"
    with socket.create_connection((api.http.base_url.host, api.http.base_url.port)) as connection:
        connection.sendall(head.encode() + data[:sent])
        time.sleep(0.3)  # a reset connection may throw away what has not been read
    wait_for(lambda: api.http.get(upload).json()["offset"] == sent, timeout_s=20)
    answer = api.http.patch(upload, headers={"upload-offset": str(sent)}, content=data[sent:])
    assert answer.json()["offset"] == len(data)
    answer = api.http.post(f"{upload}/complete")
    assert (answer.status_code, answer.json()["bytes"]) == (201, len(data))
