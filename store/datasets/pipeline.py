"""Upload pipeline: sinks that consume chunks of bytes and pass decoded chunks on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from store.errors import TooLarge
from uniapl.errors import DatasetError

HEAD = 4
"""First bytes of a file that identify its format."""
MAX_RATIO = 200
"""Largest ratio of decompressed to received bytes; text compresses by 3 to 30, a decompression bomb by more."""
FREE_BYTES = 16 * 1024 * 1024
"""Decompressed bytes that are always allowed: a small dataset may be very repetitive."""


class Sink(Protocol):
    """Consumes chunks of bytes."""

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""

    def finish(self) -> None:
        """End of the data."""


class FormatDetector:
    """Selects a sink by the first bytes."""

    def __init__(self, choose: Callable[[bytes], Sink]) -> None:
        self._choose = choose
        self._head = b""
        self._sink: Sink | None = None

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        if self._sink is None:
            piece = self._head = self._head + piece
            if len(piece) < HEAD:
                return
            self._sink = self._choose(piece)
        self._sink.feed(piece)

    def finish(self) -> None:
        """End of the data."""
        if self._sink is None:
            self._sink = self._choose(self._head)
            self._sink.feed(self._head)
        self._sink.finish()


class SizeLimit:
    """Limits of one upload: bytes received, and bytes after decompression."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.sent = 0

    def send(self, size: int) -> None:
        """Count received bytes.

        Raises:
            TooLarge: they exceed the limit.
        """
        self.sent += size
        self.check(self.sent)

    def check(self, decompressed: int) -> None:
        """
        Raises:
            TooLarge: the decompressed bytes exceed the limit.
            DatasetError: they exceed the received bytes by more than `MAX_RATIO`.
        """
        if decompressed > self._max_bytes:
            raise TooLarge(f"the dataset exceeds {self._max_bytes} bytes uncompressed; split it into several datasets")
        if decompressed > FREE_BYTES + MAX_RATIO * self.sent:
            raise DatasetError(
                f"the data decompress to more than {MAX_RATIO} times their size",
                hint="upload them uncompressed, or remove repeated content",
            )


class SizeLimited:
    """Passes chunks on while they are within the limit."""

    def __init__(self, then: Sink, limit: SizeLimit) -> None:
        self._then = then
        self._limit = limit
        self._bytes = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._bytes += len(piece)
        self._limit.check(self._bytes)
        self._then.feed(piece)

    def finish(self) -> None:
        """End of the data."""
        self._then.finish()
