"""Streaming gzip and zstd decoders with bounded output chunks: untrusted input cannot exhaust memory."""

from __future__ import annotations

import zlib

import zstandard

from store.datasets.pipeline import Sink
from uniapl.errors import DatasetError

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PIECE = 8 * 1024 * 1024
"""Largest output chunk of gzip, in bytes."""
_SLICE = 256
"""Bytes of zstd input decoded at once: a block takes at least 4 bytes and decodes to at most 128 KiB."""
_WINDOW = 8 * 1024 * 1024
"""Window size that RFC 8878 recommends decoders to support; only `--ultra` and `--long` use more."""
_HINT = "compress it again and upload it again"


class GzipDecoder:
    """Decodes one gzip stream, or several concatenated ones."""

    def __init__(self, then: Sink) -> None:
        self._then = then
        self._member = zlib.decompressobj(wbits=31)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            DatasetError: they are not gzip, or corrupt.
        """
        while piece:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            try:
                decoded = self._member.decompress(piece, PIECE)
            except zlib.error:
                raise DatasetError("the gzip data are corrupt", hint=_HINT) from None
            piece = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self._then.feed(decoded)

    def finish(self) -> None:
        """End of the data.

        Raises:
            DatasetError: the stream is truncated.
        """
        if not self._member.eof:
            raise DatasetError("the gzip data are truncated", hint=_HINT)
        self._then.finish()


class ZstdDecoder:
    """Decodes one zstd frame, or several concatenated ones."""

    def __init__(self, then: Sink) -> None:
        self._then = then
        self._context = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        self._frame = self._context.decompressobj()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            DatasetError: they are not zstd, are corrupt, or need too large a window.
        """
        for start in range(0, len(piece), _SLICE):
            rest = piece[start : start + _SLICE]
            while rest:
                if self._frame.eof:
                    self._frame = self._context.decompressobj()
                decoded = self._decode(rest)
                rest = self._frame.unused_data if self._frame.eof else b""
                self._then.feed(decoded)

    def finish(self) -> None:
        """End of the data.

        Raises:
            DatasetError: the last frame is truncated.
        """
        if not self._frame.eof:
            raise DatasetError("the zstd data are truncated", hint=_HINT)
        self._then.finish()

    def _decode(self, data: bytes) -> bytes:
        try:
            return self._frame.decompress(data)
        except zstandard.ZstdError as error:
            if "too much memory" in str(error):
                hint = "compress it without --ultra and --long"
                raise DatasetError("the zstd data need a window of more than 8 MiB", hint=hint) from None
            raise DatasetError("the zstd data are corrupt", hint=_HINT) from None
