"""Server-sent events: the events table, followed. The table is the truth; a reader that reconnects misses nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from api.auth import Caller
from api.event_feed import BATCH, Line, line_of
from store.jobs import events

HEARTBEAT_S = 15.0
END = "event: end\ndata: {}\n\n"


class EventStream(StreamingResponse):
    """A stream that says when it has ended, however that came about."""

    def __init__(self, lines: AsyncIterator[str], ended: Callable[[], None]) -> None:
        super().__init__(lines, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


async def follow(caller: Caller, job_id: str, newest: int, after: int) -> AsyncIterator[str]:
    """Events after number `after` until the job is over, each with its number as id, and comments to keep the
    connection alive.

    Args:
        newest: number of the job's newest event. A reader that has seen more has seen another history, such as that of
            a database before it was restored: it is told with a `reset`, and begins anew.
    """
    if after > newest:
        reason = f"event {after} is not there; the newest is {newest}"
        yield f"event: reset\ndata: {json.dumps({'after': 0, 'reason': reason})}\n\n"
        after = 0
    async with caller.service.event_feed.watch(job_id, newest) as feed:
        while True:
            lines = feed.after(after)
            if lines is None:
                lines = await run_in_threadpool(_page, caller, job_id, after)
            for line in lines:
                yield line.text
                after = line.seq
            if lines:
                continue
            if feed.over:
                yield END
                return
            if not await feed.changed(HEARTBEAT_S):
                yield ": still here\n\n"


def _page(caller: Caller, job_id: str, after: int) -> list[Line]:
    with caller.reading() as session:
        return [line_of(row) for row in events.after(session, job_id, after, BATCH)]
