"""Large files go up in pieces; after a drop the service says how much it has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from uniapl.spec.resources import Dataset, Upload
from uniapl_client._async.transport import AsyncTransport
from uniapl_client._blocking import async_run
from uniapl_client._files import read_at, sha256
from uniapl_client.errors import ConflictError, UniaplClientError

PIECE = 8 << 20
"""Bytes sent at a time."""
READING_S = 900.0
"""How long the service may take to read a whole dataset."""


async def at_once(
    transport: AsyncTransport, path: Path, name: str, tell: Callable[[int, int], None], idempotency_key: str | None
) -> Dataset:
    """Send a file that is small enough to be sent again whole."""
    content = await async_run(path.read_bytes)
    dataset = await transport.request(
        Dataset,
        "POST",
        "/datasets",
        params={"name": name},
        content=content,
        headers={"content-type": "application/octet-stream"},
        timeout_s=READING_S,
        idempotency_key=idempotency_key,
    )
    tell(len(content), len(content))
    return dataset


async def begin(transport: AsyncTransport, path: Path, name: str, idempotency_key: str | None) -> Upload:
    """Announce a file."""
    digest = await async_run(partial(sha256, path))
    body = {"name": name, "bytes": path.stat().st_size, "sha256": digest, "filename": path.name}
    return await transport.request(Upload, "POST", "/uploads", json=body, idempotency_key=idempotency_key)


async def get(transport: AsyncTransport, upload_id: str) -> Upload:
    """An upload that has begun."""
    return await transport.request(Upload, "GET", f"/uploads/{upload_id}")


async def go_on(transport: AsyncTransport, path: Path, upload: Upload, tell: Callable[[int, int], None]) -> Dataset:
    """Send what the service has not got, and have the dataset made."""
    try:
        tell(upload.offset, upload.bytes)
        while upload.offset < upload.bytes:
            upload = await _send_piece(transport, path, upload)
            tell(upload.offset, upload.bytes)
        return await transport.request(Dataset, "POST", f"/uploads/{upload.id}/complete", timeout_s=READING_S)
    except UniaplClientError as error:
        if error.should_retry:
            error.add_note(
                f"{upload.offset} of {upload.bytes} bytes have arrived; to go on from there, upload the file again "
                f"with upload_id={upload.id!r} (on the command line: --resume {upload.id})"
            )
        raise


async def _send_piece(transport: AsyncTransport, path: Path, upload: Upload) -> Upload:
    content = await async_run(partial(read_at, path, upload.offset, PIECE))
    headers = {"upload-offset": str(upload.offset), "content-type": "application/octet-stream"}
    try:
        return await transport.request(Upload, "PATCH", f"/uploads/{upload.id}", content=content, headers=headers)
    except ConflictError as error:  # an attempt whose answer was lost has left some of its bytes, or all
        if error.code != "upload_offset":
            raise
        found = await get(transport, upload.id)
        if found.offset == upload.offset:
            raise
        return found
