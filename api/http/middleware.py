"""ASGI middleware of every request: request id, response headers, log line, and unexpected exceptions.

It is plain ASGI, so that streams are not buffered.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from importlib.metadata import version
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from api.http.problems import problem
from store import logs
from uniapl import tracing

logger = logging.getLogger(__name__)
VERSION = version("uniapl")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    "x-uniapl-version": VERSION,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_NO_SCRIPTS = "default-src 'none'; frame-ancestors 'none'"
_OWN_SCRIPTS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; worker-src blob:; frame-ancestors 'none'"
)
PAGES = ("/docs", "/redoc")
"""Documentation pages; their scripts are served by the service itself."""
_POLLED = ("/healthz", "/readyz", "/metrics")
"""Routes that monitoring requests every few seconds; only failures are logged."""


class RequestMiddleware:
    """Wraps the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        if scope["path"] in _POLLED:
            return await self._handle(scope, receive, send, request_id)
        caller_trace = Headers(scope=scope).get("traceparent")
        with (
            logs.about(request_id=request_id),
            tracing.span("request", parent=caller_trace, request_id=request_id),
        ):
            await self._handle(scope, receive, send, request_id)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        begun, started = False, time.monotonic()
        unread = _announces_body(Headers(scope=scope))

        async def noted() -> Message:
            nonlocal unread
            message = await receive()
            unread = message.get("more_body", False)
            return message

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                _complete(headers := MutableHeaders(scope=message), request_id, scope["path"])
                if unread and (message["status"] == 408 or not is_recognised(scope)):
                    headers["connection"] = "close"  # the rest of the body is not read
                _log(scope, message["status"], time.monotonic() - started)
            await send(message)

        try:
            await self._app(scope, noted, answer)
        except ClientDisconnect:
            logger.info("%s %s: the client closed the connection (%s)", scope["method"], scope["path"], request_id)
        except Exception:
            logger.exception("%s %s failed (%s)", scope["method"], scope["path"], request_id)
            if begun:
                raise
            await problem(500, "internal_error", _INTERNAL)(scope, receive, answer)


_INTERNAL = "internal error; report the id in the header x-request-id, under which the error is logged"


def is_recognised(scope: Scope) -> bool:
    """Whether the caller of a request is identified: `api.auth.recognise` stores its grant."""
    return "grant" in scope["state"]


def _announces_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _log(scope: Scope, status: int, seconds: float) -> None:
    """Log and count a request when its response begins; the duration of a stream is the time until its first byte."""
    route = getattr(scope.get("route"), "path", None)
    metrics.count_request(scope["method"], route, status, seconds)
    tracing.rename(f"{scope['method']} {route or 'none'}", **{"http.response.status_code": status})
    if route in _POLLED and status < 400:
        return
    path = quote(scope["path"])  # a caller must not be able to forge a log line
    facts = {"method": scope["method"], "path": path, "status": status, "duration_ms": round(seconds * 1e3, 1)}
    logger.info("%s %s %d", scope["method"], path, status, extra=facts)


def _complete(headers: MutableHeaders, request_id: str, path: str) -> None:
    headers["x-request-id"] = request_id
    for name, value in _HEADERS.items():
        headers[name] = value
    headers.setdefault("cache-control", "no-store")
    headers["content-security-policy"] = _OWN_SCRIPTS if path.startswith(PAGES) else _NO_SCRIPTS
