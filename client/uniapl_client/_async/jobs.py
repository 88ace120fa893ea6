"""Job methods of the client."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Unpack

from pydantic import TypeAdapter

from uniapl.spec.estimate import Estimate, Validation
from uniapl.spec.job import JobSpec
from uniapl.spec.resources import Checkpoint, Job, JobEvent, MetricPoint, Page, Sample
from uniapl.spec.stored import RawObject
from uniapl_client._async.logs import follow, piece
from uniapl_client._async.paging import pages
from uniapl_client._async.stream import stream
from uniapl_client._async.transport import AsyncTransport
from uniapl_client._blocking import async_sleep
from uniapl_client._spec_fields import JobFields
from uniapl_client.errors import JobFailed, JobTimeout
from uniapl_client.events import StreamEvent, StreamReset


class AsyncJobs:
    """`client.jobs`: submission, control, events, metrics, logs and checkpoints."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        spec: JobSpec | RawObject | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[JobFields],
    ) -> Job:
        """Submit a job, from a `JobSpec`, the `spec` of another job, or fields.

        Args:
            spec: the whole spec.
            fields: fields of the spec, if `spec` is not given.
            idempotency_key: calls with equal keys create one job, also from several processes.

        Raises:
            InvalidRequestError: the spec is rejected; `.param` is the field at fault.
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
        **fields: Unpack[JobFields],
    ) -> Job:
        """Submit a job and wait for its success: `create`, then `wait`."""
        job = await self.create(spec, idempotency_key=idempotency_key, **fields)
        return await self.wait(job.id, timeout_s=timeout_s, on_event=on_event)

    async def validate(self, spec: JobSpec | RawObject | None = None, **fields: Unpack[JobFields]) -> Validation:
        """Validate a spec without submitting it; lists all problems."""
        return await self._transport.request(Validation, "POST", "/jobs/validate", json=_body(spec, fields))

    async def estimate(self, spec: JobSpec | RawObject | None = None, **fields: Unpack[JobFields]) -> Estimate:
        """Estimate rows, tokens, memory and time of a spec without submitting it.

        Raises:
            InvalidRequestError: the spec is rejected; `.param` is the field at fault.
        """
        return await self._transport.request(Estimate, "POST", "/jobs/estimate", json=_body(spec, fields))

    async def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFoundError: it does not exist.
        """
        return await self._transport.request(Job, "GET", f"/jobs/{job_id}")

    def list(self) -> AsyncGenerator[Job]:
        """All jobs, newest first; pages are requested on demand."""
        return pages(self._transport, "/jobs", Page[Job])

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; an active one becomes `cancelled` when its trainer has exited.

        Raises:
            ConflictError: it has already succeeded or failed.
        """
        return await self._transport.request(Job, "POST", f"/jobs/{job_id}/cancel")

    async def pause(self, job_id: str) -> Job:
        """Pause a job: it saves its last finished step, discards the current one and frees its slot.

        Raises:
            ConflictError: it has finished.
        """
        return await self._transport.request(Job, "POST", f"/jobs/{job_id}/pause")

    async def resume(self, job_id: str) -> Job:
        """Resume a paused job from its last checkpoint.

        Raises:
            ConflictError: it has finished.
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
            job_id: id of the job.
            timeout_s: timeout in seconds; none by default.
            poll_s: polling interval in seconds.
            on_event: called with every event of the job, from the first.

        Raises:
            JobFailed: the job failed or was cancelled.
            JobTimeout: the job has not finished within `timeout_s`; it continues.
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
        """Live, typed events with numbers above `after`, until the job finishes.

        After a connection failure the stream reconnects without losing events. If the next events do not exist on the
        service, a `StreamReset` has the number after which the stream continues. To leave a stream early, close it
        (`contextlib.closing`, `aclosing`).

        Raises:
            NotFoundError: the job does not exist.
            APIConnectionError: the service was unreachable for longer than the client's `deadline_s`.
        """
        return stream(self._transport, job_id, after)

    async def events(self, job_id: str, *, after: int = 0) -> AsyncGenerator[JobEvent]:
        """The events of `stream` without `StreamReset`."""
        async with aclosing(self.stream(job_id, after=after)) as events:
            async for event in events:
                if not isinstance(event, StreamReset):
                    yield event

    async def list_events(self, job_id: str, *, after: int = 0) -> Sequence[JobEvent]:
        """Existing events with numbers above `after`."""
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
        """Metric points after `since_step`, ordered by step and name; at most `max_points` per name, if given."""
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
        """The trainer's log, or its bytes from `start` to `end`.

        Args:
            job_id: id of the job.
            attempt: number of the attempt; the newest by default.
            start: first byte; a negative number counts from the end.
            end: byte after the last.

        Raises:
            NotFoundError: there is no log yet.
            APIStatusError: (410, `log_gone`) the log was deleted.
        """
        return await piece(self._transport, job_id, attempt, start, end)

    def follow_logs(
        self, job_id: str, *, attempt: int | None = None, start: int = 0, poll_s: float = 1.0
    ) -> AsyncGenerator[bytes]:
        """The log from byte `start` as it grows, until the job finishes; without `attempt`, also of later attempts.

        Raises:
            NotFoundError: the job does not exist.
        """
        return follow(self._transport, job_id, attempt, start, poll_s)

    async def samples(self, job_id: str, *, step: int | None = None) -> Sequence[Sample]:
        """Answers to held-out rows, of the evaluation at `step` or of all evaluations."""
        params = {} if step is None else {"step": step}
        return (await self._transport.request(Page[Sample], "GET", f"/jobs/{job_id}/samples", params=params)).data

    async def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints of the job, newest first."""
        return (await self._transport.request(Page[Checkpoint], "GET", f"/jobs/{job_id}/checkpoints")).data


_FIELDS: TypeAdapter[Any] = TypeAdapter(Any)


def _body(spec: JobSpec | RawObject | None, fields: JobFields) -> Any:
    """The body of a request; fields may contain parts of a spec as models."""
    return _FIELDS.dump_python(fields if spec is None else spec, mode="json", exclude_unset=True)
