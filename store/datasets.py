"""Datasets: validated line by line while they arrive, listed only when whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError
from sqlalchemy.orm import Session

from store import tenants
from store.errors import NotFound
from store.tables import Dataset
from uniapl.spec.dataset import DatasetRow, first_problem

MAX_PROBLEMS = 20


@dataclass(frozen=True)
class LineProblem:
    """What is wrong with one line."""

    line: int
    """Counted from 1."""
    offset: int
    """Bytes before the line."""
    reason: str


class InvalidDataset(Exception):
    """The upload is refused; nothing of it is kept."""

    def __init__(self, problems: list[LineProblem]) -> None:
        super().__init__(f"{len(problems)} bad lines, first: line {problems[0].line}: {problems[0].reason}")
        self.problems = problems


class Upload:
    """A dataset on its way in: bytes go to a temporary file while their lines are validated.

    Memory holds one line at a time. Used as a context manager; whatever has not been finished is removed.
    """

    def __init__(self, temporary: Path, max_line_bytes: int) -> None:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        self._path = temporary
        self._file = temporary.open("wb")
        self._max_line_bytes = max_line_bytes
        self._hash = hashlib.sha256()
        self._tail = b""  # the bytes after the last newline
        self._lines = self._bytes = self._offset = 0
        self._problems: list[LineProblem] = []
        self._rows = self._references = self._rewards = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        finally:  # closing flushes, and fails too when the disk is full
            self._path.unlink(missing_ok=True)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            InvalidDataset: `MAX_PROBLEMS` lines are bad, or one is too long; there is no point in reading on.
        """
        self._hash.update(chunk)
        self._bytes += len(chunk)
        self._file.write(chunk)
        *lines, self._tail = (self._tail + chunk).split(b"\n")
        for line in lines:
            self._validate(line)
        if len(self._tail) > self._max_line_bytes:
            self._lines += 1
            self._refuse(f"the line is longer than {self._max_line_bytes} bytes")
            raise InvalidDataset(self._problems)

    def finish(self, target: Path, dataset_id: str, name: str, tenant: str = tenants.DEFAULT) -> Dataset:
        """Move the file into place and describe it; the caller adds the row to a session.

        Raises:
            InvalidDataset: a line is bad, or there is none.
        """
        if self._tail:
            self._validate(self._tail)
            self._tail = b""
        if not self._problems and self._rows == 0:
            self._problems.append(LineProblem(1, 0, "the dataset is empty; send one JSON object a line"))
        if self._problems:
            raise InvalidDataset(self._problems)
        self._file.close()
        target.parent.mkdir(parents=True, exist_ok=True)
        self._path.rename(target)
        return Dataset(
            id=dataset_id,
            tenant=tenant,
            name=name,
            rows=self._rows,
            references=self._references,
            rewards=self._rewards,
            bytes=self._bytes,
            sha256=self._hash.hexdigest(),
        )

    def _validate(self, line: bytes) -> None:
        self._lines += 1
        text = line.removesuffix(b"\r")
        if self._lines == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if text.strip():
            try:
                row = DatasetRow.model_validate_json(text)
            except ValidationError as error:
                self._refuse(first_problem(error, text))
            else:
                self._rows += 1
                self._references += row.reference is not None
                self._rewards += row.reward is not None
        self._offset += len(line) + 1

    def _refuse(self, reason: str) -> None:
        self._problems.append(LineProblem(self._lines, self._offset, reason))
        if len(self._problems) >= MAX_PROBLEMS:
            raise InvalidDataset(self._problems)


def get(session: Session, dataset_id: str) -> Dataset:
    """One dataset.

    Raises:
        NotFound: there is none.
    """
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise NotFound("dataset", dataset_id)
    return dataset
