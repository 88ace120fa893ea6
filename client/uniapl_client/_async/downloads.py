"""Files come down in one stream each; after a drop the rest is asked for."""

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
    transport: AsyncTransport, path: str, file: CheckpointFile, target: Path, tell: Callable[[int], None]
) -> None:
    """Fetch one file; what has come so far stands beside the target, with `.part` added to its name.

    Raises:
        ChecksumError: it arrived altered; it has been removed.
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
                        tell(output.tell())
                        attempts = transport.attempts()
            break
        except UniaplClientError as error:
            await transport.retry(attempts, error)
    await async_run(partial(settle, part, target, file.sha256))
