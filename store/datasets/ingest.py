"""Dataset ingestion: received bytes → gzip or zstd decoding → JSON Lines or Parquet → validated rows in a file."""

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
from store.datasets.statistics import first_rows
from store.settings import Settings
from store.tables import Dataset
from store.tenants import DEFAULT
from uniapl.errors import DatasetError
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.importers.mapping import FieldMap
from uniapl.spec.stored import RawObject


@dataclass(frozen=True)
class Expected:
    """Size and hash that the client announced; `None` where it announced none."""

    bytes: int | None = None
    sha256: str | None = None


class Ingest:
    """Consumes the bytes of one upload.

    Holds one line and one decompressed chunk in memory. A context manager: files of an unfinished upload are removed on
    exit.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        settings: Settings,
        dataset_id: str,
        tenant: str = DEFAULT,
        mapped: FieldMap | None = None,
    ) -> None:
        self._mapped = mapped or FieldMap()
        self._id, self._tenant = dataset_id, tenant
        self._target = artifacts.dataset(dataset_id)
        self._path, self._spool = artifacts.upload(dataset_id), artifacts.upload(f"{dataset_id}.parquet")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._open = ExitStack()
        self._file = self._create(self._path)
        self._settings = settings
        self._limit = SizeLimit(settings.max_dataset_bytes)
        self._hash = hashlib.sha256()
        self._lines = JsonlParser(self._file, settings.max_line_bytes, mapped=self._mapped)
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
            InvalidDataset: too many lines are invalid.
            DatasetError: the data cannot be decompressed, or are a decompression bomb.
            TooLarge: they exceed the operator's limit.
        """
        self._hash.update(chunk)
        self._limit.send(len(chunk))
        self._sink.feed(chunk)

    def finish(self, name: str, expected: Expected) -> Dataset:
        """Move the file into place and describe it; the caller adds the row to a session.

        Raises:
            InvalidDataset: a line is invalid, or there is none.
            DatasetError: the data cannot be decompressed, or differ from `expected`.
        """
        dataset = self.check(name, expected)
        self._path.rename(self._target)
        return dataset

    def check(self, name: str, expected: Expected) -> Dataset:
        """As `finish`, but the file stays where it is, and is removed on exit.

        Raises:
            InvalidDataset: a line is invalid, or there is none.
            DatasetError: the data cannot be decompressed, or differ from `expected`.
        """
        sent, sha256 = self._limit.sent, self._hash.hexdigest()
        if expected.bytes not in (None, sent):
            hint = "the upload was interrupted; upload it again"
            raise DatasetError(f"expected {expected.bytes} bytes, received {sent}", param="bytes", hint=hint)
        if expected.sha256 not in (None, sha256):
            hint = "the data were altered in transfer, or the hash belongs to another file; upload it again"
            raise DatasetError(f"the received data have SHA-256 {sha256}", param="sha256", hint=hint)
        self._sink.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        found = self._lines.found
        return Dataset(
            id=self._id,
            tenant=self._tenant,
            name=name,
            rows=found.rows,
            references=found.references,
            rewards=found.rewards,
            ignored_fields=found.ignored.rows,
            recognised=found.recognised,
            mapping=found.mapping,
            bytes=sent,
            sha256=sha256,
        )

    def first_rows(self, count: int) -> list[DatasetRow | RawObject]:
        """The first rows in their canonical form, before or after `check`."""
        self._file.flush()
        return first_rows(self._path, count)

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
        self._lines = JsonlParser(self._file, self._settings.max_line_bytes, "row", self._mapped)
        columns = self._mapped.columns()
        return ParquetReader(self._create(self._spool), SizeLimited(self._lines, self._limit), columns)

    def _create(self, path: Path) -> BinaryIO:
        """A new file; it is closed on exit, and removed if it was not moved into place."""
        self._open.callback(path.unlink, missing_ok=True)
        return self._open.enter_context(path.open("wb"))
