"""Limits of a request's body: time, and, where it is held in memory, length and depth of its JSON.

FastAPI's `max_body_size` is not used: it replaces every answer to a body announced too long, the 401 of a request
without a key included, by a plain text 413 (`test_of_a_body_announced_too_long_the_key_is_checked_first_…`).
"""

from __future__ import annotations

import asyncio
import math
import re
import time

from fastapi import Request
from starlette.types import Message, Receive

from api.http.problems import BodyRefused

MAX_DEPTH = 64
"""Of nested JSON."""
UPLOAD_BYTES_PER_S = 10.0
"""An upload that is slower, over its last `wait_s`, counts as silent."""
_TOO_SLOW = "the body kept the service waiting for {:g} s; send the request again, over a faster connection"
_TOO_LARGE = "the body is too long; datasets go to POST /datasets or POST /uploads"
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NO_BRACKETS = re.compile(rb"[^\[\]{}]+")


class Patient:
    """A `receive` that waits for a body so long and no longer. Only the wait counts, not what is done in between."""

    def __init__(self, receive: Receive, wait_s: float, bytes_per_s: float = math.inf) -> None:
        """
        Args:
            wait_s: how long the body may keep the service waiting, in all.
            bytes_per_s: bytes that earn one second of waiting back, up to `wait_s`; by default none do.
        """
        self._receive, self._most_s, self._bytes_per_s = receive, wait_s, bytes_per_s
        self._left_s, self._more = wait_s, True

    async def __call__(self) -> Message:
        """The next message; once the body has come, for as long as it takes.

        Raises:
            BodyRefused: the body takes too long.
        """
        if not self._more:
            return await self._receive()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._left_s):
                message = await self._receive()
        except TimeoutError:
            raise BodyRefused(408, "body_too_slow", _TOO_SLOW.format(self._most_s)) from None
        earned = len(message.get("body", b"")) / self._bytes_per_s
        self._left_s = min(self._most_s, self._left_s - (time.monotonic() - began) + earned)
        self._more = message.get("more_body", False)
        return message


async def whole(request: Request, max_bytes: int) -> bytes:
    """The body, if it is short, text and not nested too deep.

    Raises:
        BodyRefused: it is not.
        ClientDisconnect: the request broke off.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise BodyRefused(413, "too_large", _TOO_LARGE)
    if not _is_text(body):
        raise BodyRefused(422, "invalid_request", "the body is not UTF-8; send JSON")
    if _depth(body) > MAX_DEPTH:
        raise BodyRefused(422, "too_deep", f"the body is nested more than {MAX_DEPTH} levels deep")
    return bytes(body)


def again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _is_text(body: bytearray) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _depth(body: bytearray) -> int:
    """How deep JSON is nested; parsers recurse, so it is counted before they see it."""
    depth = deepest = 0
    for bracket in _NO_BRACKETS.sub(b"", _STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest
