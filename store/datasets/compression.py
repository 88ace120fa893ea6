"""gzip and zstd, undone piece by piece: no piece is larger than `PIECE`, whatever a stranger has packed."""

from __future__ import annotations

import zlib

import zstandard

from store.datasets.pipeline import Sink
from uniapl.errors import DatasetError

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PIECE = 8 * 1024 * 1024
"""Bytes."""
_SLICE = 256
"""Bytes of zstd undone at once: a block takes four at least, and unfolds to 128 KiB at most."""
_WINDOW = 8 * 1024 * 1024
"""What RFC 8878 asks every decoder to have; only `--ultra` and `--long` use more."""
_HINT = "compress it again and send it again"


class GzipDecoder:
    """One gzip stream, or several after one another."""

    def __init__(self, then: Sink) -> None:
        self._then = then
        self._member = zlib.decompressobj(wbits=31)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            DatasetError: they are no gzip, or damaged.
        """
        while piece:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            try:
                unfolded = self._member.decompress(piece, PIECE)
            except zlib.error:
                raise DatasetError("the gzip data are damaged", hint=_HINT) from None
            piece = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self._then.feed(unfolded)

    def finish(self) -> None:
        """There are no more.

        Raises:
            DatasetError: the stream is cut short.
        """
        if not self._member.eof:
            raise DatasetError("the gzip data are cut short", hint=_HINT)
        self._then.finish()


class ZstdDecoder:
    """One zstd frame, or several after one another."""

    def __init__(self, then: Sink) -> None:
        self._then = then
        self._context = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        self._frame = self._context.decompressobj()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            DatasetError: they are no zstd, are damaged, or want a window that is too large.
        """
        for start in range(0, len(piece), _SLICE):
            rest = piece[start : start + _SLICE]
            while rest:
                if self._frame.eof:
                    self._frame = self._context.decompressobj()
                unfolded = self._undo(rest)
                rest = self._frame.unused_data if self._frame.eof else b""
                self._then.feed(unfolded)

    def finish(self) -> None:
        """There are no more.

        Raises:
            DatasetError: the last frame is cut short.
        """
        if not self._frame.eof:
            raise DatasetError("the zstd data are cut short", hint=_HINT)
        self._then.finish()

    def _undo(self, data: bytes) -> bytes:
        try:
            return self._frame.decompress(data)
        except zstandard.ZstdError as error:
            if "too much memory" in str(error):
                hint = "compress it without --ultra and --long"
                raise DatasetError("the zstd data want a window of more than 8 MiB", hint=hint) from None
            raise DatasetError("the zstd data are damaged", hint=_HINT) from None
