"""The teacher's server of each test."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.uniapl.teachers.openai_server import KEY, Teacher
from uniapl.inference import retry


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Teacher]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TEST_API_KEY", KEY)
    monkeypatch.setattr(retry, "FIRST_BACKOFF_S", 0.01)
    server = Teacher()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()
