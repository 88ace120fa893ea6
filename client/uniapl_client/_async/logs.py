"""Range requests and polling of a job's log."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from uniapl.spec.resources import Job
from uniapl_client._async.transport import AsyncTransport
from uniapl_client._blocking import async_sleep
from uniapl_client.errors import APIStatusError, NotFoundError

PIECE = 1 << 20


async def piece(
    transport: AsyncTransport, job_id: str, attempt: int | None, start: int | None, end: int | None
) -> bytes:
    """The bytes from `start` to `end`; empty beyond the end of the log."""
    first = start or 0
    headers = {}
    if start is not None or end is not None:
        headers["range"] = f"bytes={first}-{'' if end is None else end - 1}" if first >= 0 else f"bytes={first}"
    params = {} if attempt is None else {"attempt": attempt}
    try:
        response = await transport.send("GET", f"/jobs/{job_id}/logs", params=params, headers=headers)
    except APIStatusError as error:
        if error.status == 416:
            return b""
        raise
    return response.content if response.status_code == 206 else response.content[start:end]


async def follow(
    transport: AsyncTransport, job_id: str, attempt: int | None, start: int, poll_s: float
) -> AsyncGenerator[bytes]:
    """Poll the log until the job finishes."""
    reading, position = attempt or 0, start
    while True:
        job = await transport.request(Job, "GET", f"/jobs/{job_id}")  # before the log: a finished job logs nothing more
        latest = attempt or job.attempt
        reading = reading or latest
        while 0 < reading <= latest:
            try:
                content = await piece(transport, job_id, reading, position, position + PIECE)
            except NotFoundError:  # no log yet
                content = b""
            if content:
                position += len(content)
                yield content
            elif reading == latest:
                break
            else:
                reading, position = reading + 1, 0
        if job.is_over:
            return
        await async_sleep(poll_s)
