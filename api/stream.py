"""Server-sent events: the events table, followed. The table is the truth; a reader that reconnects misses nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.auth import Caller
from store import events, jobs
from store.tables import Event
from uniapl.spec.resources import TERMINAL_STATES, JobEvent

POLL_S = 0.5
HEARTBEAT_S = 15.0
BATCH = 500


async def follow(request: Request, caller: Caller, job_id: str, last_id: int) -> AsyncIterator[str]:
    """Events after number `last_id` until the job is over, each with its number as id, and comments to keep the
    connection alive."""
    spoken = time.monotonic()
    while not await request.is_disconnected():
        found, over = await run_in_threadpool(_read, caller, job_id, last_id)
        for event in found:
            last_id = event.id
            spoken = time.monotonic()
            yield f"id: {event.id}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n"
        if over and len(found) < BATCH:
            yield "event: end\ndata: {}\n\n"
            return
        if time.monotonic() - spoken > HEARTBEAT_S:
            spoken = time.monotonic()
            yield ": still here\n\n"
        if not found:
            await asyncio.sleep(POLL_S)


def _read(caller: Caller, job_id: str, last_id: int) -> tuple[list[JobEvent], bool]:
    with caller.reading() as session:
        over = jobs.get(session, job_id).state in TERMINAL_STATES  # read first: nothing follows a terminal event
        rows = events.after(session, job_id, last_id, BATCH)
        return [to_event(row) for row in rows], over


def to_event(row: Event) -> JobEvent:
    """The wire form of an event."""
    return JobEvent(
        id=row.seq,
        created_at=row.created_at,
        level=row.level,
        type=row.type,
        message=row.message,
        data=row.data,
    )
