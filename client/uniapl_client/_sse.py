"""Server-sent events, decoded."""

from __future__ import annotations

from typing import NamedTuple


class ServerSentEvent(NamedTuple):
    """One event as it came over the wire."""

    name: str
    data: str


class Decoder:
    """Turns bytes, as they arrive, into events.

    Lines end at a line feed and nowhere else: a text may hold other characters that Python takes for line ends.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._name, self._data = "message", list[str]()

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that are whole with `chunk`."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        found = (self._line(line.removesuffix(b"\r").decode("utf-8", "replace")) for line in lines)
        return [event for event in found if event is not None]

    def _line(self, line: str) -> ServerSentEvent | None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        if line:
            return None
        event = ServerSentEvent(self._name, "\n".join(self._data)) if self._data else None
        self._name, self._data = "message", []
        return event
