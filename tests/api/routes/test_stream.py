"""Events over SSE, from a real server: order, replay, reset, heartbeats, many readers of one poller."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from api import event_feed, sse
from store.db import unit_of_work
from store.jobs import claims, lifecycle
from store.jobs.claims import Claim
from store.settings import Settings
from tests.api.server import Server
from tests.store.jobs.factories import claimed, make_job

pytestmark = pytest.mark.integration


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    settings = Settings(data_dir=tmp_path, database_url=database_url, tenant_streams=500, requests_per_s=1000)
    with Server(settings) as running:
        yield running


def add_events(engine: Engine, claim: Claim, *messages: str) -> None:
    for message in messages:
        with unit_of_work(engine) as session:
            claims.add_event(session, claim, message)


def parse(text: str) -> list[tuple[str, Any]]:
    """Every event as its name and data; comments are left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def ids(found: list[tuple[str, Any]]) -> list[int]:
    return [data["id"] for name, data in found if name in ("state", "message")]


def end(engine: Engine, claim: Claim) -> None:
    with unit_of_work(engine) as session:
        lifecycle.request_cancel(session, claim.job_id)
        lifecycle.cancelled(session, claim.job_id, claim.fence)


def test_a_reader_gets_what_was_and_what_comes_in_order_until_the_end(server: Server) -> None:
    job_id = make_job(server.engine)
    claim = claimed(server.engine, job_id)
    add_events(server.engine, claim, "one", "two")
    later = threading.Timer(0.6, lambda: (add_events(server.engine, claim, "three"), end(server.engine, claim)))
    later.start()
    answer = httpx.get(f"{server.url}/jobs/{job_id}/events", headers=server.headers, timeout=30, trust_env=False)
    later.join()
    found = parse(answer.text)
    assert found[-1] == ("end", {})
    assert ids(found) == list(range(1, len(found)))
    assert [data["message"] for _, data in found[2:5]] == ["one", "two", "three"]


def test_a_reader_that_reconnects_continues_after_its_last_event(server: Server) -> None:
    job_id = make_job(server.engine)
    claim = claimed(server.engine, job_id)
    add_events(server.engine, claim, "one", "two")
    end(server.engine, claim)
    headers = {**server.headers, "last-event-id": "3"}
    found = parse(httpx.get(f"{server.url}/jobs/{job_id}/events", headers=headers, timeout=30, trust_env=False).text)
    assert ids(found)[0] == 4


def test_a_cursor_beyond_the_newest_event_is_reset(server: Server) -> None:
    job_id = make_job(server.engine)
    claim = claimed(server.engine, job_id)
    end(server.engine, claim)
    headers = {**server.headers, "last-event-id": "99"}
    found = parse(httpx.get(f"{server.url}/jobs/{job_id}/events", headers=headers, timeout=30, trust_env=False).text)
    assert found[0][0] == "reset"
    assert found[0][1]["after"] == 0
    assert ids(found) == list(range(1, len(found) - 1))


def test_a_reader_far_behind_what_is_remembered_reads_the_table(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "TAIL", 3)
    monkeypatch.setattr(event_feed, "BATCH", 4)
    monkeypatch.setattr(sse, "BATCH", 4)
    job_id = make_job(server.engine)
    claim = claimed(server.engine, job_id)
    url = f"{server.url}/jobs/{job_id}/events"
    texts: list[str] = []
    readers = [
        threading.Thread(
            target=lambda: texts.append(httpx.get(url, headers=server.headers, timeout=60, trust_env=False).text)
        )
        for _ in range(3)
    ]
    for i, reader in enumerate(readers):
        reader.start()
        add_events(server.engine, claim, *(f"{i}-{j}" for j in range(10)))
    end(server.engine, claim)
    for reader in readers:
        reader.join()
    for text in texts:
        found = parse(text)
        assert ids(found) == list(range(1, len(found)))
        assert len(found) > 30


def test_silence_is_broken_by_comments(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.2)
    job_id = make_job(server.engine)
    with httpx.stream(
        "GET", f"{server.url}/jobs/{job_id}/events", headers=server.headers, timeout=10, trust_env=False
    ) as answer:
        assert ": ping" in answer.iter_lines()  # reads no further than the first


def test_many_readers_cost_one_poll(server: Server) -> None:
    """200 readers of 20 jobs: the number of queries does not grow with the readers."""
    granted = [claimed(server.engine, make_job(server.engine)) for _ in range(20)]
    service = server.app.state.service
    begun, looks, took = 0, 0, 0.0

    async def read(client: httpx.AsyncClient, job_id: str) -> list[int]:
        nonlocal begun
        text = ""
        async with client.stream("GET", f"/jobs/{job_id}/events", headers=server.headers) as answer:
            async for part in answer.aiter_text():
                begun += not text
                text += part
        return ids(parse(text))

    async def all_of_them() -> list[list[int]]:
        nonlocal looks, took
        limits = httpx.Limits(max_connections=300)
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits, trust_env=False) as client:
            readers = [asyncio.create_task(read(client, claim.job_id)) for claim in granted for _ in range(10)]
            while begun < 200:  # each has read what was there, with a query of its own
                await asyncio.sleep(0.05)
            count, since = [0], time.monotonic()
            event.listen(service.engine, "before_cursor_execute", lambda *_: count.__setitem__(0, count[0] + 1))
            await asyncio.sleep(2)
            looks, took = count[0], time.monotonic() - since
            for claim in granted:
                await asyncio.to_thread(add_events, server.engine, claim, "a", "b")
                await asyncio.to_thread(end, server.engine, claim)
            return await asyncio.gather(*readers)

    found = asyncio.run(all_of_them())
    assert looks <= took / event_feed.POLL_S * 8  # a few statements a look; a look for each reader would be 200 of them
    assert len(found) == 200
    assert all(numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 5 for numbers in found)
    assert service.event_feed._feeds == {}


def test_a_tenant_has_only_so_many_streams_and_gets_them_back(database_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=database_url, tenant_streams=2)
    with Server(settings) as server:
        url = f"{server.url}/jobs/{make_job(server.engine)}/events"
        with httpx.Client(headers=server.headers, timeout=10, trust_env=False) as client:
            with client.stream("GET", url), client.stream("GET", url):
                answer = client.get(url)
                assert (answer.status_code, answer.json()["error"]["code"]) == (429, "limit_reached")
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with client.stream("GET", url) as again:
                    if again.status_code == 200:
                        return
                time.sleep(0.1)
    pytest.fail("the streams were not given back")
