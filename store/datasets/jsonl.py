"""JSON Lines parser: validates each line as a row, and writes it in canonical form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

from uniapl.spec.importers.file_kinds import ARRAY, line_problem
from uniapl.spec.importers.mapping import FieldMap
from uniapl.spec.importers.rows import RowError, read_row
from uniapl.spec.importers.summary import Summary

MAX_PROBLEMS = 20
_NEWLINES = re.compile(rb"\n+")


@dataclass(frozen=True)
class LineProblem:
    """An error in one line."""

    line: int
    """Line number, from 1; for a Parquet file, the row number."""
    offset: int | None
    """Offset of the line in the uncompressed data, in bytes; `None` for a row of a Parquet file."""
    reason: str


class InvalidDataset(Exception):
    """The upload is rejected; nothing of it is stored."""

    def __init__(self, problems: list[LineProblem], unit: Literal["line", "row"] = "line") -> None:
        super().__init__(f"{len(problems)} bad {unit}s, first: {unit} {problems[0].line}: {problems[0].reason}")
        self.problems = problems


class JsonlParser:
    """Parses JSON Lines in chunks and writes valid rows to a file; holds one line and one chunk in memory."""

    def __init__(
        self,
        target: BinaryIO,
        max_line_bytes: int,
        unit: Literal["line", "row"] = "line",
        mapped: FieldMap | None = None,
    ) -> None:
        self._target = target
        self._mapped = mapped or FieldMap()
        self._max_line_bytes = max_line_bytes
        self._unit: Literal["line", "row"] = unit
        self._tail = bytearray()  # the bytes after the last newline
        self._lines = self._offset = 0
        self._problems: list[LineProblem] = []
        self.found = Summary()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            InvalidDataset: `MAX_PROBLEMS` lines are invalid, or one is too long; parsing stops.
        """
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            if end == start and not self._tail:
                end = self._skip(piece, start)
            else:
                self._tail += piece[start:end]
                self._take()
            start = end + 1
        self._tail += piece[start:]
        if len(self._tail) > self._max_line_bytes:
            self._take()

    def finish(self) -> None:
        """Parse the last line, which may lack its newline.

        Raises:
            InvalidDataset: a line is invalid, or there is none.
        """
        if self._tail:
            self._take()
        if not self._problems and self.found.rows == 0:
            self._problems.append(LineProblem(1, 0, "the dataset is empty; upload one JSON object per line"))
        if not self._problems and (unused := self.found.unused(self._mapped)):
            reason = f"map: no row has the field {unused[0]!r:.100}; correct its name"
            self._problems.append(LineProblem(1, 0 if self._unit == "line" else None, reason))
        if self._problems:
            raise InvalidDataset(self._problems, self._unit)

    def _skip(self, piece: bytes, start: int) -> int:
        """Skip consecutive empty lines at once, since a bomb may hold gigabytes of them; returns the index of the last
        newline."""
        newlines = _NEWLINES.match(piece, start)
        assert newlines is not None
        self._lines += newlines.end() - start
        self._offset += newlines.end() - start
        return newlines.end() - 1

    def _take(self) -> None:
        """Parse the tail as a line."""
        self._lines += 1
        line, size = bytes(self._tail), len(self._tail)
        self._tail.clear()
        if size > self._max_line_bytes:
            is_array = self._lines == 1 and line.lstrip().startswith(b"[")
            self._refuse(ARRAY if is_array else f"the {self._unit} is longer than {self._max_line_bytes} bytes")
            raise InvalidDataset(self._problems, self._unit)
        if self._lines == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.strip()
        if line:
            self._read(line)
        self._offset += size + 1

    def _read(self, line: bytes) -> None:
        try:
            read = read_row(line, self._mapped)
        except RowError as error:
            self._refuse(line_problem(line, str(error), is_first=self._lines == 1))
            return
        self.found.add(read)
        self._target.write(read.line)
        self._target.write(b"\n")

    def _refuse(self, reason: str) -> None:
        self._problems.append(LineProblem(self._lines, self._offset if self._unit == "line" else None, reason))
        if len(self._problems) >= MAX_PROBLEMS:
            raise InvalidDataset(self._problems, self._unit)
