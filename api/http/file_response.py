"""Responses with a file, whole or by `Range`: from the local disk, streamed from the bucket, or by a redirect to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse

from store.artifacts.paths import Artifacts

REDIRECT: dict[int | str, dict[str, Any]] = {307: {"description": "The file is at a URL of the bucket"}}
"""For the OpenAPI document of routes that may redirect."""
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def answer(
    request: Request,
    artifacts: Artifacts,
    name: str,
    *,
    media_type: str,
    filename: str | None = None,
    headers: Mapping[str, str] | None = None,
    immutable: bool = False,
) -> Response | None:
    """The response; `None` where the file does not exist.

    Args:
        request: its `Range` may have one range; several get the whole file.
        artifacts: the store of the file.
        name: path relative to the data folder.
        media_type: of the file.
        filename: under which a browser saves it; without, the browser displays it.
        headers: further headers of the response.
        immutable: whether the file never changes; the store may then redirect the client to the bucket.
    """
    disposition = f"attachment; filename*=utf-8''{quote(filename, safe='')}" if filename else "inline"
    sent = {**(headers or {}), "content-disposition": disposition}
    path = artifacts.objects.local(name)
    if path is not None:
        return FileResponse(path, media_type=media_type, headers=sent) if path.is_file() else None
    size = artifacts.objects.size(name)
    if size is None:
        return None
    if immutable and (url := artifacts.objects.download_url(name, filename=filename or name.rpartition("/")[2])):
        return RedirectResponse(url, 307, headers)
    sent |= {"accept-ranges": "bytes"}
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or match[0] == "bytes=-":
        sent |= {"content-length": str(size)}
        return StreamingResponse(artifacts.objects.stream(name, 0, size), 200, sent, media_type)
    start, end = _bounds(match[1], match[2], size)
    if start >= end:
        return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
    sent |= {"content-length": str(end - start), "content-range": f"bytes {start}-{end - 1}/{size}"}
    return StreamingResponse(artifacts.objects.stream(name, start, end), 206, sent, media_type)


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    """Start (inclusive) and end (exclusive) of a range of a file of `size` bytes (RFC 9110, section 14.1.2)."""
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(int(last) + 1, size) if last else size
