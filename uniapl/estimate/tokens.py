"""How long the rows of a dataset are in the student's tokens: counted on a sample of them, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from uniapl.data import token_count
from uniapl.estimate.workload import RowLengths, Sample
from uniapl.run.config import ModelSource
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.training import DataOptions

ROWS = 256
"""Of a larger dataset so many are counted, spread over the file."""
BYTES = 4_000_000
"""After so many no further row is counted: somebody waits for the answer."""
TEMPLATE_TOKENS = 32
"""Allowed per prompt for the chat template, which is not rendered here: it is a program of the model's."""
CHARACTERS = 4
"""Of English text per token, where there is no tokenizer to count with."""


class Counter:
    """Counts tokens as the student does, or guesses by characters where its `tokenizer.json` is not at hand."""

    def __init__(self, source: ModelSource) -> None:
        self._count = _of_student(source)
        self.exact = self._count is not None

    def __call__(self, text: str) -> int:
        """Tokens of a text, special ones not added."""
        return self._count(text) if self._count else -(-len(text) // CHARACTERS)


@lru_cache(maxsize=8)
def _of_student(source: ModelSource) -> Callable[[str], int] | None:
    if source.path is None or source.gguf is not None:
        return None
    file = Path(source.path) / "tokenizer.json"
    return token_count.counter(file) if file.is_file() else None


def count(path: Path, source: ModelSource, options: DataOptions, *, references: bool) -> Sample:
    """Tokens of a sample of the rows of a dataset.

    Args:
        path: its validated file.
        source: the student.
        options: limits; rows beyond them are left out, as the trainer does.
        references: whether any term reads them.
    """
    counted, share = _count(path, source)
    rows = [row if references else RowLengths(row.prompt, None) for row in counted]
    usable = [
        row
        for row in rows
        if row.prompt <= options.max_prompt_tokens and (row.reference or 0) <= options.max_reference_tokens
    ]
    return Sample(sorted(usable, key=lambda row: row.total), len(counted), share)


@lru_cache(maxsize=256)
def _count(path: Path, source: ModelSource) -> tuple[list[RowLengths], float]:
    """Of every row of the sample, and the sample's share of the file; a dataset never changes, so once is enough."""
    length = Counter(source)
    found, size = [], 0
    for line in _lines(path):
        if size > BYTES:
            break
        size += len(line)
        if text := line.removeprefix(b"\xef\xbb\xbf").strip():
            try:
                row = DatasetRow.model_validate_json(text)
            except ValidationError:  # of a newer release, which this one's trainer refuses too
                continue
            prompt = TEMPLATE_TOKENS + sum(length(message.content) for message in row.messages)
            found.append(RowLengths(prompt, None if row.reference is None else length(row.reference) + 1))
    return found, size / path.stat().st_size


def _lines(path: Path) -> Iterator[bytes]:
    """At most `ROWS` lines, spread evenly over the file: the one that follows each of as many places.

    Where long rows stand together they come more often than short ones; sums are therefore projected by bytes.
    """
    size = path.stat().st_size
    seen = -1
    with path.open("rb") as file:
        for place in range(ROWS):
            start = size * place // ROWS
            file.seek(max(start - 1, 0))
            if start > 0:
                file.readline()  # to the next line's beginning, or none of a line that begins here
            if file.tell() <= seen:
                continue
            seen = file.tell()
            yield file.readline()
