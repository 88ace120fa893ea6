"""A real HTTP server with OpenAI's chat completions, whose replies a test chooses, and jobs that use it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from uniapl.run.credentials import Credentials
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.job import JobSpec
from uniapl.teachers.references import fill_references

KEY = "sk-test-0123456789abcdef"


@dataclass
class Reply:
    """What the server does with one request."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    """Announce a body, send half of it, and close."""
    hang: bool = False
    """Send nothing until the end of the test."""
    trickle: bool = False
    """Send a space every 50 ms."""


def completion(text: str | None, *, finish_reason: str = "stop", tokens: int | None = 10) -> Reply:
    """A well-formed answer."""
    body: dict[str, Any] = {"choices": [{"message": {"content": text}, "finish_reason": finish_reason}]}
    return Reply(body=body | ({} if tokens is None else {"usage": {"total_tokens": tokens}}))


class Teacher(ThreadingHTTPServer):
    """Answers "Re: <question>" by default."""

    daemon_threads = False  # closing waits for every handler, so that no socket is left open
    request_queue_size = 64

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((address, port), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.reply: Callable[[str, int], Reply] = lambda question, _: completion(f"Re: {question}")
        """From the question and the request's number, counted from 1."""
        self.over = threading.Event()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def questions(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.asked]

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Teacher
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(body)
            server.headers.append(dict(self.headers))
            server.paths.append(self.path)
            number = len(server.asked)
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            reply = server.reply(body["messages"][-1]["content"], number)
        finally:
            with server.lock:
                server.in_flight -= 1
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        if reply.hang:
            self.server.over.wait(60)
            self.close_connection = True
            return
        content = json.dumps(reply.body).encode() if isinstance(reply.body, dict) else reply.body
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(10**6 if reply.trickle else len(content)))
        self.end_headers()
        if reply.trickle:
            while not self.server.over.wait(0.05):
                self.wfile.write(b" ")
        self.wfile.write(content[: len(content) // 2] if reply.cut else content)
        if reply.cut:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = reply.cut or reply.trickle

    def log_message(self, *_: object) -> None:
        """Silent."""


def spec(server: Teacher | None = None, *, teacher: dict[str, Any] | None = None, **fields: Any) -> JobSpec:
    """A job whose teacher is the server, if there is one."""
    given: dict[str, Any] = {"student": "tiny", "dataset_mix": [{"dataset": "ds_1"}], **fields}
    if server is not None:
        options = {"concurrency": 1, "timeout_s": 60, "api_key_env": "TEST_API_KEY", **(teacher or {})}
        given["teacher"] = {"type": "openai", "base_url": server.url, "model": "m", **options}
    return JobSpec.model_validate(given)


def rows(*questions: str) -> list[DatasetRow]:
    """Rows without reference, named after their questions."""
    return [
        DatasetRow.model_validate({"id": f"id-{text}", "messages": [{"role": "user", "content": text}]})
        for text in questions
    ]


def fill(
    spec: JobSpec,
    cache: Path,
    *mix: list[DatasetRow],
    events: list[str] | None = None,
    credentials: Credentials | None = None,
) -> list[list[str | None]]:
    """The references after filling, per entry of the mix."""
    reported = [] if events is None else events
    filled, _ = fill_references(
        spec, list(mix), [], cache=cache, on_event=reported.append, credentials=credentials or Credentials()
    )
    return [[row.reference for row in rows] for rows in filled]
