"""What bytes of an upload flow through: each sink takes pieces and hands on what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from store.errors import TooLarge
from uniapl.errors import DatasetError

HEAD = 4
"""Bytes by which every format is recognised."""
MAX_RATIO = 200
"""Data that unfold to more than so many times what was sent are a bomb: texts compress by 3 to 30."""
FREE_BYTES = 16 * 1024 * 1024
"""So much may come of anything: a small dataset may say one thing again and again."""


class Sink(Protocol):
    """Takes bytes piece by piece."""

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""

    def finish(self) -> None:
        """There are no more bytes."""


class FormatDetector:
    """Chooses the sink by the first bytes."""

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
        """There are no more."""
        if self._sink is None:
            self._sink = self._choose(self._head)
            self._sink.feed(self._head)
        self._sink.finish()


class SizeLimit:
    """What one upload may send, and unfold to."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.sent = 0

    def send(self, size: int) -> None:
        """Count what has been sent.

        Raises:
            TooLarge: it is more than is allowed.
        """
        self.sent += size
        self.check(self.sent)

    def check(self, unfolded: int) -> None:
        """
        Raises:
            TooLarge: it would be more on disk than is allowed.
            DatasetError: it is far more than was sent.
        """
        if unfolded > self._max_bytes:
            raise TooLarge(f"a dataset may have {self._max_bytes} bytes, uncompressed; send it in parts")
        if unfolded > FREE_BYTES + MAX_RATIO * self.sent:
            raise DatasetError(
                f"the data unfold to more than {MAX_RATIO} times their size",
                hint="send them uncompressed, or leave out what is repeated",
            )


class SizeLimited:
    """Hands pieces on for as long as the allowance lasts."""

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
        """There are no more."""
        self._then.finish()
