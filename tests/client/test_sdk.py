"""The SDK against a scripted server, for the faults that the real one cannot be asked to show."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from uniapl_client import APIConnectionError, APIStatusError, ChecksumError, Client

CONTENT = b"weights" * 1000
CHECKPOINT = {
    "id": "ckpt_1",
    "job_id": "job_1",
    "step": 1,
    "bytes": len(CONTENT),
    "manifest_sha256": "x",
    "created_at": 0.0,
    "files": [{"name": "model.safetensors", "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}],
}


class Script(http.server.BaseHTTPRequestHandler):
    """Drops the event stream half way, damages a download once, and answers nonsense where asked."""

    downloads = 0
    seen: list[str | None] = []

    def do_GET(self) -> None:
        if self.path.endswith("/events"):
            self._events()
        elif self.path.endswith("/checkpoints/ckpt_1"):
            self._send(json.dumps(CHECKPOINT).encode())
        elif "/files/" in self.path:
            Script.downloads += 1
            self._send(CONTENT if Script.downloads > 1 else CONTENT[:-1] + b"!")
        else:
            self._send(b"<html>Bad gateway</html>", status=502)

    def _events(self) -> None:
        last = self.headers["last-event-id"]
        Script.seen.append(last)
        events = [1, 2] if last == "0" else [3]
        body = "".join(f"id: {n}\nevent: state\ndata: {json.dumps(event(n))}\n\n" for n in events)
        if last == "0":
            body += 'id: 3\nevent: state\ndata: {"id": 3, "crea'  # and the connection breaks
        else:
            body += ": still here\n\nevent: end\ndata: {}\n\n"
        self._send(body.encode())

    def _send(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def event(number: int) -> dict[str, Any]:
    return {"id": number, "created_at": 0.0, "level": "info", "type": "state", "message": "m", "data": {}}


@pytest.fixture
def client() -> Iterator[Client]:
    Script.downloads, Script.seen = 0, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Script)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Client(f"http://127.0.0.1:{server.server_port}") as client:
        yield client
    server.shutdown()
    server.server_close()


def test_a_broken_event_stream_is_taken_up_where_it_broke(client: Client) -> None:
    assert [e.id for e in client.jobs.events("job_1")] == [1, 2, 3]
    assert Script.seen == ["0", "2"]


def test_a_damaged_download_is_noticed_and_a_second_try_completes_it(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ChecksumError, match=r"model\.safetensors"):
        client.checkpoints.download("ckpt_1", tmp_path)
    assert list(tmp_path.iterdir()) == []
    seen: list[tuple[int, int]] = []
    client.checkpoints.download("ckpt_1", tmp_path, on_progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "model.safetensors").read_bytes() == CONTENT
    assert seen == [(len(CONTENT), len(CONTENT))]
    client.checkpoints.download("ckpt_1", tmp_path)  # whole files are not fetched again
    assert Script.downloads == 2


def test_an_answer_that_is_not_ours_is_still_an_error_with_its_status(client: Client) -> None:
    with pytest.raises(APIStatusError, match="HTTP 502") as caught:
        client.jobs.get("job_1")
    assert (caught.value.status_code, caught.value.code) == (502, "unknown")


def test_a_service_that_is_not_there_is_named() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(APIConnectionError, match=r"http://127\.0\.0\.1:9"):
        client.models()
