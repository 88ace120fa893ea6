"""Parquet reader: a separate process converts the file to JSON Lines (`store.datasets.parquet_process`)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from store.datasets import parquet_process
from store.datasets.pipeline import Sink
from uniapl.errors import DatasetError
from uniapl.spec.importers.rows import FIELDS

MAGIC = b"PAR1"
_CHUNK = 256 * 1024
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Memory pools reserve unused memory, which counts towards the limit."""


class ParquetReader:
    """Spools a Parquet file to disk, since its metadata are at its end; then passes its rows on."""

    def __init__(self, file: BinaryIO, then: Sink, columns: Iterable[str] = ()) -> None:
        """`columns` are read besides those of the known fields."""
        self._file = file
        self._columns = [*FIELDS, *columns]
        self._then = then

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._file.write(piece)

    def finish(self) -> None:
        """End of the data.

        Raises:
            DatasetError: it cannot be read.
        """
        self._file.close()
        _read(self._file.name, self._columns, self._then.feed)
        self._then.finish()


def _read(path: str, columns: list[str], feed: Callable[[bytes], None]) -> None:
    """Pass the rows of a Parquet file, as JSON Lines, to `feed`; the process is killed when `feed` raises.

    Raises:
        DatasetError: the file cannot be read, or not within `parquet_process.MEMORY`.
    """
    command = [sys.executable, "-P", parquet_process.__file__, path, ",".join(columns)]
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    options: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "env": environment | _ENVIRONMENT,
    }
    with tempfile.TemporaryFile() as errors, subprocess.Popen(command, stderr=errors, **options) as child:
        assert child.stdout is not None
        try:
            while chunk := child.stdout.read(_CHUNK):
                feed(chunk)
            status = child.wait()
        finally:
            child.kill()
        errors.seek(0)
        reason = errors.read(1000).decode(errors="replace").strip() or "no reason given"
    if status == parquet_process.TOO_LARGE:
        raise DatasetError(
            f"the Parquet file has pages or rows that need more than {parquet_process.MEMORY // 2**20} MiB of memory",
            hint="write it with smaller pages, or upload JSON Lines",
        )
    if status != 0:
        detail = reason if status == parquet_process.UNREADABLE else "its reader crashed"
        raise DatasetError(f"the Parquet file cannot be read: {detail}", hint="write it again and upload it again")
