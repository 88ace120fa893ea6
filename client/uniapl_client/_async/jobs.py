"""`client.jobs`"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from uniapl.spec.estimate import Estimate, Validation
from uniapl.spec.job import JobSpec
from uniapl.spec.resources import Checkpoint, Job, JobEvent, MetricPoint, Page, Sample
from uniapl.spec.stored import RawObject
from uniapl_client._async.logs import follow, piece
from uniapl_client._async.paging import pages
from uniapl_client._async.stream import stream
from uniapl_client._async.transport import AsyncTransport
from uniapl_client._blocking import async_sleep
from uniapl_client.errors import JobFailed, JobTimeout
from uniapl_client.events import StreamEvent, StreamReset


class AsyncJobs:
    """`client.jobs`"""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self, spec: JobSpec | RawObject | None = None, *, idempotency_key: str | None = None, **fields: Any
    ) -> Job:
        """Queue a job, from a `JobSpec`, another job's `spec`, or its fields.

        Args:
            spec: the whole spec; or else
            fields: its fields.
            idempotency_key: two calls with the same key make one job, also from two processes.

        Raises:
            InvalidRequestError: the spec is not acceptable; `.param` names the field.
        """
        body = _body(spec, fields)
        return await self._transport.request(Job, "POST", "/jobs", json=body, idempotency_key=idempotency_key)

    async def create_and_wait(
        self,
        spec: JobSpec | RawObject | None = None,
        *,
        timeout_s: float | None = None,
        on_event: Callable[[JobEvent], None] | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Job:
        """Queue a job and wait until it has succeeded: `create`, then `wait`."""
        job = await self.create(spec, idempotency_key=idempotency_key, **fields)
        return await self.wait(job.id, timeout_s=timeout_s, on_event=on_event)

    async def validate(self, spec: JobSpec | RawObject | None = None, **fields: Any) -> Validation:
        """Whether a spec would be accepted; every problem is listed."""
        return await self._transport.request(Validation, "POST", "/jobs/validate", json=_body(spec, fields))

    async def estimate(self, spec: JobSpec | RawObject | None = None, **fields: Any) -> Estimate:
        """Rows, tokens, memory and time that a spec would take.

        Raises:
            InvalidRequestError: the spec is not acceptable; `.param` names the field.
        """
        return await self._transport.request(Estimate, "POST", "/jobs/estimate", json=_body(spec, fields))

    async def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFoundError: there is none.
        """
        return await self._transport.request(Job, "GET", f"/jobs/{job_id}")

    def list(self) -> AsyncGenerator[Job]:
        """All jobs, newest first; pages are fetched as needed."""
        return pages(self._transport, "/jobs", Page[Job])

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; an active one becomes `cancelled` once its trainer is gone.

        Raises:
            ConflictError: it has already succeeded or failed.
        """
        return await self._transport.request(Job, "POST", f"/jobs/{job_id}/cancel")

    async def pause(self, job_id: str) -> Job:
        """Pause a job: it saves its last finished step, drops the one under way and frees its slot.

        Raises:
            ConflictError: it is over.
        """
        return await self._transport.request(Job, "POST", f"/jobs/{job_id}/pause")

    async def resume(self, job_id: str) -> Job:
        """Let a paused job go on from its last checkpoint.

        Raises:
            ConflictError: it is over.
        """
        return await self._transport.request(Job, "POST", f"/jobs/{job_id}/resume")

    async def wait(
        self,
        job_id: str,
        *,
        timeout_s: float | None = None,
        poll_s: float = 1.0,
        on_event: Callable[[JobEvent], None] | None = None,
    ) -> Job:
        """Wait until the job has succeeded.

        Args:
            job_id: which job.
            timeout_s: how long; without end by default.
            poll_s: seconds between two looks.
            on_event: called with every event of the job, from its first.

        Raises:
            JobFailed: it ended failed or cancelled.
            JobTimeout: it is not over after `timeout_s`; it goes on.
        """
        deadline, seen = None if timeout_s is None else time.monotonic() + timeout_s, 0
        while True:
            job = await self.get(job_id)
            if on_event is not None:
                for event in await self.list_events(job_id, after=seen):
                    seen = event.id
                    on_event(event)
            if job.state == "succeeded":
                return job
            if job.is_over:
                raise JobFailed(job)
            if timeout_s is not None and deadline is not None and time.monotonic() > deadline:
                raise JobTimeout(job, timeout_s)
            await async_sleep(poll_s)

    def stream(self, job_id: str, *, after: int = 0) -> AsyncGenerator[StreamEvent]:
        """Events from the first (or from the one after `after`) until the job is over, live and typed.

        A dropped connection is taken up where it broke. Where the service does not have the events that come next, a
        `StreamReset` says where it goes on. To leave a stream early, close it (`contextlib.closing`, `aclosing`).

        Raises:
            NotFoundError: there is no such job.
            APIConnectionError: the service stayed out of reach for longer than the client's `deadline_s`.
        """
        return stream(self._transport, job_id, after)

    async def events(self, job_id: str, *, after: int = 0) -> AsyncGenerator[JobEvent]:
        """What `stream` yields, without the resets."""
        async with aclosing(self.stream(job_id, after=after)) as events:
            async for event in events:
                if not isinstance(event, StreamReset):
                    yield event

    async def list_events(self, job_id: str, *, after: int = 0) -> Sequence[JobEvent]:
        """Events so far, from the one after `after`."""
        found: list[JobEvent] = []
        async for event in pages(self._transport, f"/jobs/{job_id}/events", Page[JobEvent], after=str(after)):
            found.append(event)
        return found

    async def metrics(
        self,
        job_id: str,
        *,
        names: Sequence[str] | None = None,
        since_step: int = -1,
        max_points: int | None = None,
    ) -> Sequence[MetricPoint]:
        """Points after `since_step`, by step and name; at most `max_points` of each name, where that is given."""
        params: dict[str, Any] = {"names": ",".join(names)} if names else {}
        if max_points is not None:
            params["max_points"] = max_points
        found: list[MetricPoint] = []
        while True:
            params["since_step"] = since_step
            page = await self._transport.request(Page[MetricPoint], "GET", f"/jobs/{job_id}/metrics", params=params)
            found += page.data
            if not page.has_more:
                return found
            since_step = page.data[-1].step

    async def logs(
        self, job_id: str, *, attempt: int | None = None, start: int | None = None, end: int | None = None
    ) -> bytes:
        """The trainer's log, or the bytes from `start` up to `end` of it.

        Args:
            job_id: which job.
            attempt: the newest by default.
            start: first byte; a negative number counts from the end.
            end: the byte after the last.

        Raises:
            NotFoundError: nothing has been logged yet.
            APIStatusError: (410, `log_gone`) the log has been deleted.
        """
        return await piece(self._transport, job_id, attempt, start, end)

    def follow_logs(
        self, job_id: str, *, attempt: int | None = None, start: int = 0, poll_s: float = 1.0
    ) -> AsyncGenerator[bytes]:
        """The log from byte `start` on as it grows, until the job is over; without `attempt`, through all further ones.

        Raises:
            NotFoundError: there is no such job.
        """
        return follow(self._transport, job_id, attempt, start, poll_s)

    async def samples(self, job_id: str, *, step: int | None = None) -> Sequence[Sample]:
        """Held-out answers of one evaluation, or of all."""
        params = {} if step is None else {"step": step}
        return (await self._transport.request(Page[Sample], "GET", f"/jobs/{job_id}/samples", params=params)).data

    async def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints, newest first."""
        return (await self._transport.request(Page[Checkpoint], "GET", f"/jobs/{job_id}/checkpoints")).data


def _body(spec: JobSpec | RawObject | None, fields: dict[str, Any]) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude_unset=True) if spec is not None else fields
