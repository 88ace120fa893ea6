"""A job's event stream, reconnected after the last event received."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import httpx
from httpx_sse import EventSource, ServerSentEvent

from uniapl_client._async.transport import AsyncTransport
from uniapl_client.errors import APIConnectionError, UniaplClientError
from uniapl_client.events import StreamEvent, StreamReset, parse


async def stream(transport: AsyncTransport, job_id: str, after: int) -> AsyncGenerator[StreamEvent]:
    """Events with numbers above `after`, until the job ends.

    Raises:
        APIConnectionError: the retries were used up without a byte from the service.
    """
    attempts = transport.attempts()
    while True:
        headers = {"accept": "text/event-stream", "last-event-id": str(after)}
        response: httpx.Response | None = None
        try:
            async with (
                transport.stream(f"/jobs/{job_id}/events", headers=headers) as response,
                aclosing(_received(response)) as received,
            ):
                async for found in received:
                    if found.event == "end":
                        return
                    # httpx-sse repeats the last id as an event without data after each heartbeat
                    event = parse(found) if found.data else None
                    if event is not None:
                        after = event.after if isinstance(event, StreamReset) else event.id
                        yield event
            raise APIConnectionError(f"{transport.url} closed the event stream of {job_id}")
        except UniaplClientError as error:
            if response is not None and response.num_bytes_downloaded:  # heartbeats count, and yield no event
                attempts = transport.attempts()
            await transport.retry(attempts, error)


def _received(response: httpx.Response) -> AsyncGenerator[ServerSentEvent]:
    # a generator, so that an abandoned stream closes it; httpx-sse declares the sync one as an iterator
    return cast(AsyncGenerator[ServerSentEvent], EventSource(response).aiter_sse())  # type: ignore[redundant-cast,unused-ignore]
