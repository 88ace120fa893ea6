"""A dataset on its way in: bytes → gzip or zstd undone → JSON lines, or Parquet → rows of ours in a file."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from store.artifacts.paths import Artifacts
from store.datasets.compression import GZIP, ZSTD, GzipDecoder, ZstdDecoder
from store.datasets.jsonl import JsonlParser
from store.datasets.parquet import MAGIC, ParquetReader
from store.datasets.pipeline import FormatDetector, Sink, SizeLimit, SizeLimited
from store.settings import Settings
from store.tables import Dataset
from store.tenants import DEFAULT
from uniapl.errors import DatasetError


@dataclass(frozen=True)
class Expected:
    """What a sender says of what he sends."""

    bytes: int | None = None
    sha256: str | None = None


class Ingest:
    """Takes one upload's bytes as they come.

    Memory holds one line and one piece of what is unfolded. Used as a context manager; whatever has not been finished
    is removed.
    """

    def __init__(self, artifacts: Artifacts, settings: Settings, dataset_id: str, tenant: str = DEFAULT) -> None:
        self._id, self._tenant = dataset_id, tenant
        self._target = artifacts.dataset(dataset_id)
        self._path, self._spool = artifacts.upload(dataset_id), artifacts.upload(f"{dataset_id}.parquet")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._open = ExitStack()
        self._file = self._create(self._path)
        self._settings = settings
        self._limit = SizeLimit(settings.max_dataset_bytes)
        self._hash = hashlib.sha256()
        self._lines = JsonlParser(self._file, settings.max_line_bytes)
        self._sink = FormatDetector(self._unpacked)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            InvalidDataset: too many lines are bad; there is no point in reading on.
            DatasetError: the data cannot be unpacked, or are a bomb.
            TooLarge: they are more than the operator allows.
        """
        self._hash.update(chunk)
        self._limit.send(len(chunk))
        self._sink.feed(chunk)

    def finish(self, name: str, expected: Expected) -> Dataset:
        """Move the file into place and describe it; the caller adds the row to a session.

        Raises:
            InvalidDataset: a line is bad, or there is none.
            DatasetError: the data cannot be unpacked, or are not what was expected.
        """
        sent, sha256 = self._limit.sent, self._hash.hexdigest()
        if expected.bytes not in (None, sent):
            hint = "the upload broke off; send it again"
            raise DatasetError(f"{expected.bytes} bytes were announced and {sent} came", param="bytes", hint=hint)
        if expected.sha256 not in (None, sha256):
            hint = "the upload was altered on its way, or the hash is another file's"
            raise DatasetError(f"what came has the hash {sha256}", param="sha256", hint=hint)
        self._sink.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._path.rename(self._target)
        return Dataset(
            id=self._id,
            tenant=self._tenant,
            name=name,
            rows=self._lines.rows,
            references=self._lines.references,
            rewards=self._lines.rewards,
            ignored_fields=self._lines.ignored.rows,
            bytes=sent,
            sha256=sha256,
        )

    def _unpacked(self, head: bytes) -> Sink:
        inside = FormatDetector(self._read)
        if head.startswith(GZIP):
            return GzipDecoder(SizeLimited(inside, self._limit))
        if head.startswith(ZSTD):
            return ZstdDecoder(SizeLimited(inside, self._limit))
        return inside

    def _read(self, head: bytes) -> Sink:
        if head.startswith((GZIP, ZSTD)):
            raise DatasetError("the data are compressed more than once", hint="compress them once")
        if not head.startswith(MAGIC):
            return self._lines
        self._lines = JsonlParser(self._file, self._settings.max_line_bytes, "row")
        return ParquetReader(self._create(self._spool), SizeLimited(self._lines, self._limit))

    def _create(self, path: Path) -> BinaryIO:
        """A file that is closed and, if it is still there, removed in the end."""
        self._open.callback(path.unlink, missing_ok=True)
        return self._open.enter_context(path.open("wb"))
