"""HTTP connections with limits that uvicorn lacks: size and duration of a request's head."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Limit of the request line and headers, which the parser holds in memory without a limit of its own."""


class Bounded(HttpToolsProtocol):
    """A connection that is closed when the head of a request is too long or does not arrive in time."""

    head_s = 30.0
    """Limit of the time for a head, from the connection or from the first byte of a later request; and of the time that
    a connection stays open after a response without another request."""
    _late: asyncio.TimerHandle | None = None
    _idle: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Start the timer of a head at the first byte of a request."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """Stop the timer of a complete head."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Start the idle timer after a response; uvicorn's own stops at the next byte, even of no request."""
        super().on_response_complete()
        if self.cycle is not None and self.cycle.response_complete and not self.transport.is_closing():
            self._idle = self.loop.call_later(self.head_s, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head."""
        super().data_received(data)
        if self._late is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The head of the request is longer than {MAX_HEAD_BYTES} bytes.")

    def _await_head(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._late is None:
            self._head_bytes = 0
            self._late = self.loop.call_later(self.head_s, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        for timer in (self._late, self._idle):
            if timer is not None:
                timer.cancel()
        self._late = self._idle = None


def bounded(seconds: float) -> type[Bounded]:
    """The protocol class for uvicorn, with a limit of `seconds` for a request's head."""
    return type("Bounded", (Bounded,), {"head_s": seconds})
