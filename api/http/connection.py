"""HTTP on a connection, with bounds that uvicorn lacks: of a request's head, in bytes and in seconds."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Of address and headers together; the parser holds them in memory, however many there are."""


class Bounded(HttpToolsProtocol):
    """A connection that is closed when the head of a request is too long, or does not come in time."""

    head_s = 30.0
    """How long a head may take, from the connection on or from the first byte of a later request; and how long a
    connection stays open after an answer when no request follows."""
    _late: asyncio.TimerHandle | None = None
    _idle: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has connected."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """The head has come."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """An answer has been sent. uvicorn's own timer ends with the next byte, also one that begins no request."""
        super().on_response_complete()
        if self.cycle is not None and self.cycle.response_complete and not self.transport.is_closing():
            self._idle = self.loop.call_later(self.head_s, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
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
    """The protocol class for uvicorn; a request's head may take `seconds`."""
    return type("Bounded", (Bounded,), {"head_s": seconds})
