"""One request to a real server: its deadline, the bound of its reply, and what is quoted of it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from uniapl.inference.http import (
    SHOWN_CHARACTERS,
    Reply,
    ReplyTimeout,
    ReplyTooLong,
    TransientError,
    connections,
    exchange,
    truncate_for_message,
)

pytestmark = pytest.mark.integration


class _Handler(BaseHTTPRequestHandler):
    """`/slow` sends a byte every 50 ms, `/moved` redirects, everything else answers 429 with the request's headers."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/slow":
            self._start(200, {"Content-Length": "1000"})
            while not self.server.over.wait(0.05):  # type: ignore[attr-defined]
                self.wfile.write(b" ")
            return
        if self.path == "/moved":
            self._start(307, {"Location": "/elsewhere", "Content-Length": "0"})
            return
        content = str(self.headers.get("Authorization")).encode()
        self._start(429, {"Retry-After": "7", "Content-Length": str(len(content))})
        self.wfile.write(content)

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.over = threading.Event()  # type: ignore[attr-defined]
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that disconnect are part of the tests
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.over.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def post(url: str, **options: Any) -> Reply:
    async def send() -> Reply:
        async with connections(1, proxies=False) as pool:
            return await exchange(pool, "POST", url, body={}, **{"timeout_s": 30, "largest": 1000, **options})

    return asyncio.run(send())


def test_a_reply_has_its_status_content_and_the_wait_that_it_asks_for(url: str) -> None:
    assert post(f"{url}/busy", token="secret") == Reply(429, 7.0, b"Bearer secret")
    assert post(f"{url}/busy").content == b"None"


def test_bytes_that_trickle_in_do_not_extend_the_deadline(url: str) -> None:
    with pytest.raises(ReplyTimeout, match=r"no complete reply within 0\.3 s"):
        post(f"{url}/slow", timeout_s=0.3)


def test_a_reply_is_read_up_to_its_bound(url: str) -> None:
    assert len(post(f"{url}/busy", token="x" * 93, largest=100).content) == 100
    with pytest.raises(ReplyTooLong, match="the reply exceeds 100 bytes"):
        post(f"{url}/busy", token="x" * 94, largest=100)


def test_a_refused_connection_is_transient_and_no_timeout() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(TransientError, match="ConnectError") as raised:
            post(f"http://127.0.0.1:{free.getsockname()[1]}/")
    assert not isinstance(raised.value, ReplyTimeout)


def test_a_redirect_is_a_reply(url: str) -> None:
    assert post(f"{url}/moved", token="secret").status == 307


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("two\n lines\t\x1b[31m", "two lines [31m"),
        (b"caf\xc3\xa9 \xff", "café �"),
        ("x" * SHOWN_CHARACTERS, "x" * SHOWN_CHARACTERS),
        ("x" * (SHOWN_CHARACTERS + 1), "x" * (SHOWN_CHARACTERS - 1) + "…"),
    ],
)
def test_a_quotation_is_one_printable_line_of_bounded_length(text: str | bytes, quoted: str) -> None:
    assert truncate_for_message(text) == quoted
