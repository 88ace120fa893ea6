"""Uploads of files: small ones in one request, large ones in resumable parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from uniapl.spec.resources import Dataset, DatasetPreview, Upload
from uniapl_client._async.transport import AsyncTransport
from uniapl_client._blocking import async_run
from uniapl_client._files import first_lines, read_at, sha256
from uniapl_client.errors import ConflictError, UniaplClientError

PIECE = 8 << 20
"""Size of a part in bytes."""
READING_S = 900.0
"""Timeout of the validation of a whole dataset, in seconds."""


async def at_once(
    transport: AsyncTransport,
    path: Path,
    name: str,
    report: Callable[[int, int], None],
    idempotency_key: str | None,
    mapped: Sequence[str] = (),
) -> Dataset:
    """Send a small file in one request."""
    content = await async_run(path.read_bytes)
    dataset = await transport.request(
        Dataset,
        "POST",
        "/datasets",
        params={"name": name} | _params(mapped),
        content=content,
        headers={"content-type": "application/octet-stream"},
        timeout_s=READING_S,
        idempotency_key=idempotency_key,
    )
    report(len(content), len(content))
    return dataset


async def preview(transport: AsyncTransport, path: Path, rows: int, mapped: Sequence[str]) -> DatasetPreview:
    """How the rows of a file are read; of a long plain-text file only the first lines are sent."""
    content = await async_run(partial(first_lines, path, PIECE))
    return await transport.request(
        DatasetPreview,
        "POST",
        "/datasets/preview",
        params={"rows": rows} | _params(mapped),
        content=content,
        headers={"content-type": "application/octet-stream"},
        timeout_s=READING_S,
    )


def pairs(mapped: Mapping[str, str | Sequence[str]] | None) -> list[str]:
    """A mapping as `field:target` texts."""
    targets = {name: [to] if isinstance(to, str) else to for name, to in (mapped or {}).items()}
    return [f"{name}:{target}" for name, of_field in targets.items() for target in of_field]


def _params(mapped: Sequence[str]) -> dict[str, str | int]:
    return {"map": ",".join(mapped)} if mapped else {}


async def begin(transport: AsyncTransport, path: Path, name: str, idempotency_key: str | None) -> Upload:
    """Create a resumable upload."""
    digest = await async_run(partial(sha256, path))
    body = {"name": name, "bytes": path.stat().st_size, "sha256": digest, "filename": path.name}
    return await transport.request(Upload, "POST", "/uploads", json=body, idempotency_key=idempotency_key)


async def get(transport: AsyncTransport, upload_id: str) -> Upload:
    """A resumable upload."""
    return await transport.request(Upload, "GET", f"/uploads/{upload_id}")


async def resume(
    transport: AsyncTransport,
    path: Path,
    upload: Upload,
    report: Callable[[int, int], None],
    mapped: Sequence[str] = (),
) -> Dataset:
    """Send the missing parts and complete the upload."""
    try:
        report(upload.offset, upload.bytes)
        while upload.offset < upload.bytes:
            upload = await _send_piece(transport, path, upload)
            report(upload.offset, upload.bytes)
        place = f"/uploads/{upload.id}/complete"
        return await transport.request(Dataset, "POST", place, params=_params(mapped), timeout_s=READING_S)
    except UniaplClientError as error:
        if error.should_retry:
            error.add_note(
                f"{upload.offset} of {upload.bytes} bytes were uploaded; to resume, upload the file again with "
                f"upload_id={upload.id!r} (on the command line: --resume {upload.id})"
            )
        raise


async def _send_piece(transport: AsyncTransport, path: Path, upload: Upload) -> Upload:
    content = await async_run(partial(read_at, path, upload.offset, PIECE))
    headers = {"upload-offset": str(upload.offset), "content-type": "application/octet-stream"}
    try:
        return await transport.request(Upload, "PATCH", f"/uploads/{upload.id}", content=content, headers=headers)
    except ConflictError as error:  # bytes of an attempt whose response was lost
        if error.code != "upload_offset":
            raise
        found = await get(transport, upload.id)
        if found.offset == upload.offset:
            raise
        return found
