"""Uploads and downloads over connections that break."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from uniapl_client import APIConnectionError, ChecksumError, ConflictError, InvalidRequestError

from tests.client.conftest import Ask
from tests.client.scripted import CUT, Answer, Request, problem, serving
from tests.client.test_streams import ranged

pytestmark = pytest.mark.integration

PIECE = 1000
CONTENT = bytes(range(256)) * 20


class Uploads:
    """The service's side of uploads: what has arrived, and what goes wrong."""

    def __init__(self, fault: Callable[[Request, bytearray], Answer | None] = lambda request, arrived: None) -> None:
        self.arrived = bytearray()
        self.asked: dict[str, Any] = {}
        self._fault = fault

    def __call__(self, request: Request) -> Answer:
        if request.path == "/datasets":
            self.arrived += request.body
            return self._dataset(request.query["name"])
        if (fault := self._fault(request, self.arrived)) is not None:
            return fault
        if request.path == "/uploads":
            self.asked = request.json
        elif request.path.endswith("/complete"):
            return self._dataset(self.asked["name"])
        elif request.method == "PATCH":
            if int(request.headers["upload-offset"]) != len(self.arrived):
                return problem(409, "upload_offset", x_should_retry="false")
            self.arrived += request.body
        upload = {"id": "up_1", "name": "rows", "bytes": len(CONTENT), "offset": len(self.arrived), "expires_at": 9.0}
        return Answer({**upload, "dataset_id": None, "created_at": 1.0})

    def _dataset(self, name: str) -> Answer:
        known = {"id": "ds_1", "name": name, "rows": 1, "references": 0, "rewards": 0, "created_at": 1.0}
        content = bytes(self.arrived)
        return Answer({**known, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}, 201)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for flavour in ("_sync", "_async"):
        monkeypatch.setattr(f"uniapl_client.{flavour}.uploads.PIECE", PIECE)
        monkeypatch.setattr(f"uniapl_client.{flavour}.downloads.CHUNK", PIECE)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(CONTENT)
    return path


def test_a_small_file_goes_up_at_once(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(CONTENT[:PIECE])
    seen: list[tuple[int, int]] = []
    with serving(Uploads()) as server:
        found = ask(server.url, lambda c: c.datasets.upload(path, on_progress=lambda *n: seen.append(n)))
    assert (found.name, found.sha256) == ("train", hashlib.sha256(CONTENT[:PIECE]).hexdigest())
    assert [r.path for r in server.seen] == ["/datasets"]
    assert seen == [(PIECE, PIECE)]


def test_a_large_file_goes_up_in_pieces_with_its_hash(ask: Ask, rows: Path) -> None:
    seen: list[tuple[int, int]] = []
    service = Uploads()
    with serving(service) as server:
        found = ask(server.url, lambda c: c.datasets.upload(rows, name="mine", on_progress=lambda *n: seen.append(n)))
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert service.asked == {"name": "mine", "bytes": len(CONTENT), "sha256": digest, "filename": "rows.jsonl"}
    assert found.sha256 == digest
    assert seen == [(done, len(CONTENT)) for done in (0, 1000, 2000, 3000, 4000, 5000, 5120)]


def once(fault: Callable[[Request, bytearray], Answer | None]) -> Callable[[Request, bytearray], Answer | None]:
    """The fault at the first piece that begins at byte 2000."""
    struck: list[Request] = []

    def strike(request: Request, arrived: bytearray) -> Answer | None:
        if request.headers["upload-offset"] != "2000" or struck:
            return None
        struck.append(request)
        return fault(request, arrived)

    return strike


def dropped_in_the_middle(request: Request, arrived: bytearray) -> Answer:
    arrived += request.read(300)
    return CUT


def answer_lost(request: Request, arrived: bytearray) -> Answer:
    arrived += request.body
    return CUT


@pytest.mark.parametrize("fault", [dropped_in_the_middle, answer_lost, lambda request, arrived: problem(503)])
def test_after_a_drop_an_upload_goes_on_from_the_services_offset(ask: Ask, rows: Path, fault: Any) -> None:
    service = Uploads(once(fault))
    with serving(service) as server:
        ask(server.url, lambda client: client.datasets.upload(rows))
    assert service.arrived == CONTENT
    sent = [int(r.headers["upload-offset"]) for r in server.seen if r.method == "PATCH"]
    assert sent.count(0) == sent.count(1000) == 1  # what has arrived is not sent again


def test_an_upload_that_was_given_up_can_be_gone_on_with(ask: Ask, rows: Path) -> None:
    down = {"yes": True}

    def away(request: Request, arrived: bytearray) -> Answer | None:
        return CUT if down["yes"] and len(arrived) >= 3000 else None

    service = Uploads(away)
    with serving(service) as server:
        with pytest.raises(APIConnectionError) as caught:
            ask(server.url, lambda client: client.datasets.upload(rows), max_retries=1)
        (note,) = caught.value.__notes__
        assert "3000 of 5120 bytes" in note
        assert "upload_id='up_1'" in note
        down["yes"] = False
        before = len(server.seen)
        ask(server.url, lambda client: client.datasets.upload(rows, upload_id="up_1"))
    assert service.arrived == CONTENT
    sent = [r.headers["upload-offset"] for r in server.seen[before:] if r.method == "PATCH"]
    assert sent == ["3000", "4000", "5000"]


def test_a_service_that_refuses_an_offset_and_means_it_is_an_error(ask: Ask, rows: Path) -> None:
    def refuse(request: Request, _: bytearray) -> Answer | None:
        return problem(409, "upload_offset", x_should_retry="false") if request.method == "PATCH" else None

    with serving(Uploads(refuse)) as server, pytest.raises(ConflictError):
        ask(server.url, lambda client: client.datasets.upload(rows))


def test_rows_that_are_refused_at_the_end_are_named(ask: Ask, rows: Path) -> None:
    def refuse(request: Request, _: bytearray) -> Answer | None:
        return problem(422, "invalid_dataset") if request.path.endswith("/complete") else None

    with serving(Uploads(refuse)) as server, pytest.raises(InvalidRequestError) as caught:
        ask(server.url, lambda client: client.datasets.upload(rows))
    assert not hasattr(caught.value, "__notes__")  # no upload to resume


def checkpoint(name: str = "model.safetensors") -> dict[str, Any]:
    file = {"name": name, "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    known = {"id": "ckpt_1", "job_id": "job_1", "step": 1, "manifest_sha256": "x", "created_at": 0.0}
    return {**known, "bytes": len(CONTENT), "files": [file]}


def files(*faults: Callable[[Answer], Answer], name: str = "model.safetensors") -> Callable[[Request], Answer]:
    """A checkpoint of one file; the first downloads of it go wrong."""
    left = list(faults)

    def script(request: Request) -> Answer:
        if "/files/" not in request.path:
            return Answer(checkpoint(name))
        answer = ranged(CONTENT, request.headers["range"])
        return left.pop(0)(answer) if left else answer

    return script


def cut_at(size: int) -> Callable[[Answer], Answer]:
    return lambda answer: Answer(answer.content, answer.status, cut_after=size)


def test_after_a_drop_a_download_asks_for_the_rest(ask: Ask, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with serving(files(cut_at(2500), cut_at(0), cut_at(1200))) as server:
        ask(server.url, lambda c: c.checkpoints.download("ckpt_1", tmp_path, on_progress=lambda *n: seen.append(n)))
    assert (tmp_path / "model.safetensors").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    starts = [int(r.headers["range"].removeprefix("bytes=")[:-1]) for r in server.seen if "/files/" in r.path]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert starts[1] >= 2000  # all but a part of a chunk was kept
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_download_that_was_given_up_is_gone_on_with_by_the_next(ask: Ask, tmp_path: Path) -> None:
    with serving(files(cut_at(2500), *[lambda answer: CUT] * 2)) as server:
        with pytest.raises(APIConnectionError):
            ask(server.url, lambda c: c.checkpoints.download("ckpt_1", tmp_path), max_retries=2)
        assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors.part"]
        ask(server.url, lambda c: c.checkpoints.download("ckpt_1", tmp_path))
        assert server.seen[-1].headers["range"] != "bytes=0-"
        asked = len(server.seen)
        ask(server.url, lambda c: c.checkpoints.download("ckpt_1", tmp_path))
        assert len(server.seen) == asked + 1  # a whole file is not fetched again
    assert (tmp_path / "model.safetensors").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "fault",
    [
        lambda answer: Answer(answer.content[:-1] + b"!", 206),
        lambda answer: Answer(answer.content[:-1], 206),  # too short, with a matching content-length
        lambda answer: Answer(answer.content + b"!", 206),
    ],
)
def test_a_damaged_download_is_noticed_and_a_second_try_completes_it(ask: Ask, tmp_path: Path, fault: Any) -> None:
    with serving(files(fault)) as server:
        with pytest.raises(ChecksumError, match=r"model\.safetensors"):
            ask(server.url, lambda c: c.checkpoints.download("ckpt_1", tmp_path))
        assert list(tmp_path.iterdir()) == []
        ask(server.url, lambda c: c.checkpoints.download("ckpt_1", tmp_path))
    assert (tmp_path / "model.safetensors").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_begins_anew(ask: Ask, tmp_path: Path) -> None:
    with serving(files(cut_at(2500), lambda answer: Answer(CONTENT, 200))) as server:
        ask(server.url, lambda c: c.checkpoints.download("ckpt_1", tmp_path))
    assert (tmp_path / "model.safetensors").read_bytes() == CONTENT


def test_a_file_outside_the_folder_is_refused(ask: Ask, tmp_path: Path) -> None:
    with serving(files(name="../stray")) as server, pytest.raises(ChecksumError, match="outside the folder"):
        ask(server.url, lambda c: c.checkpoints.download("ckpt_1", tmp_path / "in"))
    assert not (tmp_path / "stray").exists()
