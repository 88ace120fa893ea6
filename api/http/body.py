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
"""Deepest nesting of JSON."""
UPLOAD_BYTES_PER_S = 10.0
"""An upload that is slower than this during its last `wait_s` times out."""
_TOO_SLOW = "the body did not arrive within {:g} s; send the request again over a faster connection"
_TOO_LARGE = "the body exceeds {} bytes; send datasets with POST /datasets or POST /uploads"
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NO_BRACKETS = re.compile(rb"[^\[\]{}]+")


class Patient:
    """A `receive` with a time limit for the body. It counts time spent waiting, not time spent processing."""

    def __init__(self, receive: Receive, wait_s: float, bytes_per_s: float = math.inf) -> None:
        """
        Args:
            wait_s: limit of the total time spent waiting.
            bytes_per_s: bytes that restore one second of the limit, up to `wait_s`; by default none do.
        """
        self._receive, self._most_s, self._bytes_per_s = receive, wait_s, bytes_per_s
        self._left_s, self._more = wait_s, True

    async def __call__(self) -> Message:
        """The next message; after the end of the body without a time limit.

        Raises:
            BodyRefused: the body does not arrive in time.
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
    """Read a body into memory, and check its length, encoding and depth.

    Raises:
        BodyRefused: a check failed.
        ClientDisconnect: the client closed the connection.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise BodyRefused(413, "too_large", _TOO_LARGE.format(max_bytes))
    if not _is_text(body):
        raise BodyRefused(422, "invalid_request", "the body is not UTF-8; send JSON in UTF-8")
    if _depth(body) > MAX_DEPTH:
        raise BodyRefused(422, "too_deep", f"the body is nested more than {MAX_DEPTH} levels deep; send flatter JSON")
    return bytes(body)


def again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns a body which was read before."""
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
    """Nesting depth of JSON, counted before it is parsed, since parsers recurse."""
    depth = deepest = 0
    for bracket in _NO_BRACKETS.sub(b"", _STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest
