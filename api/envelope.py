"""What surrounds every request: its id, limits of its body, headers of its answer, and a last resort for errors.

Plain ASGI, so that streams pass through as they come.
"""

from __future__ import annotations

import logging
import re
import secrets
from importlib.metadata import version

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem

logger = logging.getLogger(__name__)
VERSION = version("uniapl")
MAX_DEPTH = 64
"""Of nested JSON."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NO_BRACKETS = re.compile(rb"[^\[\]{}]+")
_HEADERS = {
    "x-uniapl-version": VERSION,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_NO_SCRIPTS = "default-src 'none'; frame-ancestors 'none'"
_PAGES = ("/docs", "/redoc")
"""Documentation, which loads scripts."""


class Envelope:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, streamed: tuple[tuple[str, str], ...]) -> None:
        """
        Args:
            max_body_bytes: longest body that is not an upload.
            streamed: methods and beginnings of the paths whose routes bound their bodies themselves.
        """
        self._app, self._max_body_bytes, self._streamed = app, max_body_bytes, streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                _complete(MutableHeaders(scope=message), request_id, scope["path"])
            await send(message)

        try:
            if scope["method"] in ("POST", "PUT", "PATCH") and not self._is_streamed(scope):
                body = await self._body(scope, receive)
                if isinstance(body, str):
                    return await problem(*_REFUSED[body])(scope, receive, answer)
                receive = _again(body, receive)
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            logger.info("%s %s: the caller has gone (%s)", scope["method"], scope["path"], request_id)
        except Exception:
            logger.exception("%s %s failed (%s)", scope["method"], scope["path"], request_id)
            if begun:
                raise
            await problem(500, "internal_error", _OURS)(scope, receive, answer)

    def _is_streamed(self, scope: Scope) -> bool:
        return any(scope["method"] == method and scope["path"].startswith(path) for method, path in self._streamed)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | str:
        """The body, or the code of why it is refused."""
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body_bytes:
                return "too_large"
            more = message.get("more_body", False)
        body = b"".join(parts)
        if not _is_text(body):
            return "not_text"
        return "too_deep" if _depth(body) > MAX_DEPTH else body


_OURS = "something went wrong on our side; it has been logged under the id in x-request-id"
_REFUSED = {
    "too_large": (413, "too_large", "the body is too long; datasets go to POST /datasets or POST /uploads"),
    "not_text": (422, "invalid_request", "the body is not UTF-8; send JSON"),
    "too_deep": (422, "too_deep", f"the body is nested more than {MAX_DEPTH} levels deep"),
}


def _complete(headers: MutableHeaders, request_id: str, path: str) -> None:
    headers["x-request-id"] = request_id
    for name, value in _HEADERS.items():
        headers[name] = value
    headers.setdefault("cache-control", "no-store")
    if not path.startswith(_PAGES):
        headers["content-security-policy"] = _NO_SCRIPTS


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _depth(body: bytes) -> int:
    """How deep JSON is nested; parsers recurse, so it is counted before they see it."""
    depth = deepest = 0
    for bracket in _NO_BRACKETS.sub(b"", _STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
