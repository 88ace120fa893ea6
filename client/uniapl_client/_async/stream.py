"""A job's events, live; broken connections are taken up where they broke."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from uniapl_client._async.transport import AsyncTransport
from uniapl_client._sse import Decoder
from uniapl_client.errors import APIConnectionError, UniaplClientError
from uniapl_client.events import StreamEvent, StreamReset, parse


async def stream(transport: AsyncTransport, job_id: str, after: int) -> AsyncGenerator[StreamEvent]:
    """Events after number `after` until the job is over."""
    attempts = transport.attempts()
    while True:
        decoder = Decoder()
        headers = {"accept": "text/event-stream", "last-event-id": str(after)}
        try:
            async with transport.stream(f"/jobs/{job_id}/events", headers=headers) as response:
                async for chunk in response.aiter_bytes():
                    attempts = transport.attempts()
                    for found in decoder.feed(chunk):
                        if found.name == "end":
                            return
                        event = parse(found)
                        if event is not None:
                            after = event.after if isinstance(event, StreamReset) else event.id
                            yield event
            raise APIConnectionError(f"{transport.url} closed the event stream of {job_id}")
        except UniaplClientError as error:
            await transport.retry(attempts, error)
