"""A real HTTP server whose answers a test scripts, faults included."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Request:
    """What has come; the body is read when it is looked at."""

    method: str
    path: str
    query: dict[str, str]
    headers: Any
    read: Callable[[int], bytes]
    size: int

    @property
    def body(self) -> bytes:
        content, self.size = self.read(self.size), 0
        return content

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What goes back: JSON or bytes, whole or cut off after some bytes; `CUT` sends nothing at all."""

    content: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None

    @property
    def body(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


CUT = Answer(cut_after=-1)


def problem(status: int, code: str = "some_code", *, param: str | None = None, **headers: str) -> Answer:
    """An error as the service words it."""
    error = {"message": f"{code} happened", "type": "t", "code": code, "param": param}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer({"status": status, "error": error, "errors": [{"param": param}]}, status, named)


@dataclass
class Server:
    """Where it listens, and what it has been asked."""

    url: str
    seen: list[Request]


@contextmanager
def serving(script: Callable[[Request], Answer]) -> Iterator[Server]:
    """Answer every request by the script, each connection in a thread of its own."""
    seen: list[Request] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            url = urlsplit(self.path)
            size = int(self.headers.get("content-length", 0))
            query = dict(parse_qsl(url.query))
            request = Request(self.command, url.path, query, self.headers, self.rfile.read, size)
            seen.append(request)
            found = script(request)
            if found is CUT:
                self.close_connection = True
                return
            _ = request.body
            self.send_response(found.status)
            for name, value in {"content-length": str(len(found.body)), **found.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(found.body[: found.cut_after])
            self.close_connection = self.close_connection or found.cut_after is not None

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_port}", seen)
    finally:
        server.shutdown()
        server.server_close()


def in_turn(*answers: Answer) -> Callable[[Request], Answer]:
    """A script that gives the answers one after the other, the last one for ever."""
    left = list(answers)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def job(state: str = "running", **fields: Any) -> dict[str, Any]:
    """A job as the service words it."""
    spec = {"student": "tiny", "dataset_mix": [{"dataset": "ds_1"}]}
    times = {"created_at": 1.0, "started_at": None, "finished_at": None}
    flags = {"cancel_requested": False, "pause_requested": False}
    known = {"id": "job_1", "state": state, "phase": None, "name": None, "spec": spec, "step": 1, "steps": 4}
    return {**known, "attempt": 1, "error": None, **flags, **times, **fields}


def event(number: int, message: str = "m", **data: Any) -> dict[str, Any]:
    """An event as the service words it."""
    kind = "state" if "state" in data else "message"
    return {"id": number, "created_at": 0.0, "level": "info", "type": kind, "message": message, "data": data}


def validation(*problems: dict[str, Any], warnings: Sequence[str] = ()) -> dict[str, Any]:
    """What is wrong with a spec, as the service words it."""
    return {"valid": not problems, "problems": list(problems), "warnings": list(warnings), "spec": None}


def estimate() -> dict[str, Any]:
    """An estimate as the service words it."""
    size = {"low": 10**9, "expected": 2 * 10**9, "high": 3 * 10**9}
    tokens = {"prompt_tokens": 9000, "reference_tokens": 5000}
    return {
        "verdict": "fits",
        "reasons": ["it does", "a caveat"],
        "roles": [{"role": "both", "rows": 201, **tokens, "passes": 0.25, "left_out": 0.1}],
        "tokens_counted_by": "tokenizer",
        "steps": 4,
        "rollouts_per_step": 8,
        "tokens_per_step": 1000,
        "memory": {"device": "cpu", "parts": {"weights": size}, "total": size},
        "hardware": [],
        "time": {"step_s": 2.5, "total_s": 10.0, "basis": "measured"},
    }
