"""The event stream of a job: server-sent events that follow the events table. A reader that reconnects misses nothing.

The wire format is FastAPI's (`fastapi.sse`), its generator routes are not: they cannot answer one path with JSON or a
stream by `Accept`, and they format each event anew for each reader. Measured with 200 readers of 200 events: 4.0 s of
CPU against 0.3 s here, and 40 kB against 16 kB of memory per reader.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from api.auth import Caller
from api.event_feed import BATCH, Line, line_of
from store.jobs import events

HEARTBEAT_S = 15.0
"""Silence after which a comment keeps the connection open."""
END = format_sse_event(event="end", data_str="{}")


class EventStream(EventSourceResponse):
    """A stream that reports its end, also when the reader disconnects."""

    def __init__(self, lines: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        super().__init__(lines, headers={"x-accel-buffering": "no"})  # a proxy must not buffer it
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


async def follow(caller: Caller, job_id: str, newest: int, after: int) -> AsyncIterator[bytes]:
    """Events with numbers above `after` until the job has ended, with heartbeats in between.

    Args:
        caller: the tenant that reads.
        job_id: a job of this tenant.
        newest: number of the job's newest event. A reader with a higher cursor has read another history, such as that
            of a database before it was restored: it gets a `reset` event, and every event from the first.
        after: the reader's cursor.
    """
    if after > newest:
        reason = f"event {after} does not exist; the newest is {newest}"
        yield format_sse_event(event="reset", data_str=json.dumps({"after": 0, "reason": reason}))
        after = 0
    async with caller.service.event_feed.watch(job_id, newest) as feed:
        while True:
            lines = feed.after(after)
            if lines is None:
                lines = await run_in_threadpool(_page, caller, job_id, after)
            for line in lines:
                yield line.wire
                after = line.seq
            if lines:
                continue
            if feed.over:
                yield END
                return
            if not await feed.changed(HEARTBEAT_S):
                yield KEEPALIVE_COMMENT


def _page(caller: Caller, job_id: str, after: int) -> list[Line]:
    with caller.reading() as session:
        return [line_of(row) for row in events.after(session, job_id, after, BATCH)]
