"""Resumable download of a checkpoint file with range requests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from uniapl.spec.resources import CheckpointFile
from uniapl_client._async.transport import AsyncTransport
from uniapl_client._blocking import async_run
from uniapl_client._files import settle
from uniapl_client.errors import UniaplClientError

CHUNK = 1 << 20


async def download(
    transport: AsyncTransport, path: str, file: CheckpointFile, target: Path, report: Callable[[int], None]
) -> None:
    """Download one file; the partial file has the suffix `.part`.

    Raises:
        ChecksumError: its checksum does not match; the file is deleted.
    """
    part = target.with_name(f"{target.name}.part")
    part.touch()
    attempts = transport.attempts()
    while (have := part.stat().st_size) < file.bytes:
        headers = {"accept-encoding": "identity", "range": f"bytes={have}-"}
        try:
            async with transport.stream(path, headers=headers) as response:
                with part.open("ab" if response.status_code == 206 else "wb") as output:
                    async for chunk in response.aiter_bytes(CHUNK):
                        output.write(chunk)
                        report(output.tell())
                        attempts = transport.attempts()
            break
        except UniaplClientError as error:
            await transport.retry(attempts, error)
    await async_run(partial(settle, part, target, file.sha256))
