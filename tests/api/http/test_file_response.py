"""File responses by range: equal from a folder and from a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from api.http import file_response
from store.artifacts.paths import Artifacts
from store.settings import Settings

pytestmark = pytest.mark.integration

CONTENT = bytes(range(256)) * 10


@pytest.fixture(params=["folder", "bucket"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> TestClient:
    url = request.getfixturevalue("bucket") if request.param == "bucket" else ""
    artifacts = Artifacts.of(Settings(data_dir=tmp_path, artifacts_url=url))
    for name, content in (("file", CONTENT), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        artifacts.objects.publish(name)
    app = FastAPI()

    @app.get("/{name}", response_model=None)
    def get(request: Request, name: str) -> object:
        return file_response.answer(
            request, artifacts, name, media_type="x/y", filename="a b.bin", headers={"x-a": "1"}
        )

    return TestClient(app)


def test_the_whole_file(client: TestClient) -> None:
    answer = client.get("/file")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-length"] == "2560"
    assert answer.headers["accept-ranges"] == "bytes"
    assert (answer.headers["content-type"], answer.headers["x-a"]) == ("x/y", "1")
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''a%20b.bin"
    assert client.get("/empty").content == b""


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("0-0", 0, 0), ("5-9", 5, 9), ("2500-", 2500, 2559), ("-10", 2550, 2559), ("10-9999", 10, 2559)],
)
def test_a_range(client: TestClient, wanted: str, first: int, last: int) -> None:
    answer = client.get("/file", headers={"range": f"bytes={wanted}"})
    assert (answer.status_code, answer.content) == (206, CONTENT[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/2560"
    assert answer.headers["content-length"] == str(last + 1 - first)


def test_a_range_behind_the_end(client: TestClient) -> None:
    answer = client.get("/file", headers={"range": "bytes=2560-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"].replace("bytes ", "") == "*/2560"


def test_what_is_not_there(client: TestClient) -> None:
    assert client.get("/nothing").json() is None
