"""Live events of jobs: one poller of the database for all readers of an API process."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from fastapi.sse import format_sse_event
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from store.db import reading
from store.jobs import events
from store.states import TERMINAL
from store.tables import Event, Job
from uniapl.spec.resources import JobEvent

logger = logging.getLogger(__name__)
POLL_S = 0.25
TAIL = 1000
"""Events that a feed keeps in memory; a reader that is further behind reads the table."""
BATCH = 500


class Line(NamedTuple):
    """An event in the format of server-sent events, written once for all its readers."""

    seq: int
    wire: bytes


class Update(NamedTuple):
    """New events of one job."""

    lines: Sequence[Line]
    over: bool
    """Whether the job has ended and these lines are its last."""


class JobFeed:
    """The newest events of one job that has readers."""

    def __init__(self, last: int) -> None:
        self.last = last
        """Number of the newest event in memory."""
        self.over = False
        self.readers = 0
        self._tail: deque[Line] = deque(maxlen=TAIL)
        self._change = asyncio.Event()

    def after(self, seq: int) -> list[Line] | None:
        """The events after `seq`; `None` where they are not all in memory."""
        if seq >= self.last:
            return []
        if not self._tail or self._tail[0].seq > seq + 1:
            return None
        return [line for line in self._tail if line.seq > seq]

    async def changed(self, timeout_s: float) -> bool:
        """Wait for new events; false after a timeout."""
        try:
            await asyncio.wait_for(self._change.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def take(self, update: Update) -> None:
        """Add new events and wake the readers. Event numbers have no gaps, so the events in memory have none either."""
        for line in update.lines:
            if line.seq > self.last:
                self._tail.append(line)
                self.last = line.seq
        self.over = update.over
        self._change.set()
        self._change = asyncio.Event()


class EventFeed:
    """All feeds of a process, and the task that polls for their updates."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._feeds: dict[str, JobFeed] = {}

    @asynccontextmanager
    async def watch(self, job_id: str, last: int) -> AsyncIterator[JobFeed]:
        """The job's feed while the block runs; `last` is the number of its newest event."""
        feed = self._feeds.setdefault(job_id, JobFeed(last))
        feed.readers += 1
        try:
            yield feed
        finally:
            feed.readers -= 1
            if feed.readers == 0:
                del self._feeds[job_id]

    async def run(self) -> None:
        """Poll for new events until cancelled."""
        while True:
            known = {job_id: feed.last for job_id, feed in self._feeds.items() if not feed.over}
            if known:
                try:
                    updates = await run_in_threadpool(self._poll, known)
                except SQLAlchemyError as error:  # readers get heartbeats, and later the events
                    logger.warning("the database does not respond: %s", getattr(error, "orig", error))
                    updates = {}
                for job_id, update in updates.items():
                    if job_id in self._feeds:
                        self._feeds[job_id].take(update)
            await asyncio.sleep(POLL_S)

    def _poll(self, known: dict[str, int]) -> dict[str, Update]:
        updates = {}
        ids = list(known)
        with reading(self._engine) as session:
            for start in range(0, len(ids), BATCH):
                some = Job.id.in_(ids[start : start + BATCH])
                newest_of = select(Job.id, Job.event_seq, Job.state, Job.finished_at).where(some)
                for job_id, newest, state, finished_at in session.execute(newest_of):
                    over = (
                        state in TERMINAL or finished_at is not None
                    )  # a newer release may have further terminal states
                    if newest > known[job_id] or over:
                        lines = [line_of(row) for row in events.after(session, job_id, known[job_id], BATCH)]
                        complete = not lines or lines[-1].seq >= newest
                        updates[job_id] = Update(lines, over=over and complete)
        return updates


def line_of(row: Event) -> Line:
    """The event of a row in the format of server-sent events."""
    event = to_event(row)
    return Line(event.id, format_sse_event(id=str(event.id), event=event.type, data_str=event.model_dump_json()))


def to_event(row: Event) -> JobEvent:
    """The event of a row."""
    return JobEvent(
        id=row.seq, created_at=row.created_at, level=row.level, type=row.type, message=row.message, data=row.data
    )
