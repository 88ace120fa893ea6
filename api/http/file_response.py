"""A file as an answer, whole or by `Range`: from this machine's disk, or streamed from where it lies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from store.artifacts.paths import Artifacts

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def answer(
    request: Request,
    artifacts: Artifacts,
    name: str,
    *,
    media_type: str,
    filename: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response | None:
    """The response; `None` when there is no such file.

    Args:
        request: may bring `Range`, of which one range is understood; several are answered with the whole file.
        artifacts: where the files are.
        name: path relative to the data folder.
        media_type: of the file.
        filename: under which a browser would save it; without, it is shown.
        headers: further ones.
    """
    shown = f"attachment; filename*=utf-8''{quote(filename, safe='')}" if filename else "inline"
    sent = {**(headers or {}), "content-disposition": shown}
    path = artifacts.objects.local(name)
    if path is not None:
        return FileResponse(path, media_type=media_type, headers=sent) if path.is_file() else None
    size = artifacts.objects.size(name)
    if size is None:
        return None
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
    """What a range means for a file of `size` bytes: from, and up to, without (RFC 9110, section 14.1.2)."""
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(int(last) + 1, size) if last else size
