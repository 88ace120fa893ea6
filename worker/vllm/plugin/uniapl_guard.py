"""ASGI middleware that requires the token on every path: vLLM's own `--api-key` protects `/v1` only.

vLLM loads it in its own environment, so it imports the standard library only.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Guard:
    """Responds with 401 to requests without the token in VLLM_API_KEY."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._expected = f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or hmac.compare_digest(_authorization(scope), self._expected):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})


def _authorization(scope: Message) -> bytes:
    found: bytes = dict(scope["headers"]).get(b"authorization", b"")
    return found
