"""Lengths of a dataset's rows in the student's tokens, counted on a sample, without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from uniapl.data import token_count
from uniapl.estimate.workload import RowLengths, Sample
from uniapl.run.config import ModelSource
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.training import DataOptions

ROWS = 256
"""Rows of a sample, spread evenly over the file."""
BYTES = 4_000_000
"""Bytes after which counting stops, to bound the response time."""
TEMPLATE_TOKENS = 32
"""Allowance per prompt for the chat template, which is not rendered, since it is a program of the model's."""
CHARACTERS = 4
"""Characters of English text per token, used without a tokenizer."""


class Counter:
    """Counts tokens with the student's tokenizer, or by characters where its `tokenizer.json` is not available."""

    def __init__(self, source: ModelSource) -> None:
        self._count = _of_student(source)
        self.exact = self._count is not None

    def __call__(self, text: str) -> int:
        """Tokens of a text without special tokens."""
        return self._count(text) if self._count else -(-len(text) // CHARACTERS)


@lru_cache(maxsize=8)
def _of_student(source: ModelSource) -> Callable[[str], int] | None:
    if source.path is None or source.gguf is not None:
        return None
    file = Path(source.path) / "tokenizer.json"
    return token_count.counter(file) if file.is_file() else None


def count(path: Path, source: ModelSource, options: DataOptions, *, references: bool, imitated: bool = False) -> Sample:
    """Tokens of a sample of the rows of a dataset.

    Args:
        path: its validated file.
        source: the student.
        options: limits; rows beyond them are left out, as in the trainer.
        references: whether any term reads them.
        imitated: whether L_SFT does, which trains earlier answers too with `trained_turns: all_answers`.
    """
    counted, share = _count(path, source)
    earlier = references and options.trained_turns == "all_answers"
    rows = [
        RowLengths(row.prompt, row.reference if references else None, row.earlier if earlier and row.reference else ())
        for row in counted
    ]
    usable = [row for row in rows if _fits(row, options)]
    if not imitated:
        usable = [replace(row, earlier=()) for row in usable]
    return Sample(sorted(usable, key=lambda row: row.total), len(counted), share)


def _fits(row: RowLengths, options: DataOptions) -> bool:
    answers = [row.reference or 0, *(answer for _, answer in row.earlier)]
    return row.prompt <= options.max_prompt_tokens and max(answers) <= options.max_reference_tokens


@lru_cache(maxsize=256)
def _count(path: Path, source: ModelSource) -> tuple[list[RowLengths], float]:
    """Lengths of the sampled rows, and their share of the file's bytes; cached, since a dataset never changes."""
    length = Counter(source)
    lengths, size = [], 0
    for line in _lines(path):
        if size > BYTES:
            break
        size += len(line)
        if text := line.removeprefix(b"\xef\xbb\xbf").strip():
            try:
                row = DatasetRow.model_validate_json(text)
            except ValidationError:  # a row of a newer release, which this trainer refuses too
                continue
            lengths.append(_row_lengths(row, length))
    return lengths, size / path.stat().st_size


def _row_lengths(row: DatasetRow, length: Counter) -> RowLengths:
    """Tokens of a row: of its tools and turns, of its reference, and before and of each answer among the turns.

    Tools and their calls are counted as JSON; templates write them in other forms of about this length.
    """
    total = TEMPLATE_TOKENS + (length(json.dumps(row.tools)) if row.tools else 0)
    earlier = []
    for i, message in enumerate(row.messages):
        turn = length(message.content) + (length(json.dumps(message.tool_calls)) if message.tool_calls else 0)
        if i > 0 and message.role == "assistant" and message.weight != 0:
            earlier.append((total, turn + 1))
        total += turn
    return RowLengths(total, None if row.reference is None else length(row.reference) + 1, tuple(earlier))


def _lines(path: Path) -> Iterator[bytes]:
    """At most `ROWS` lines, each the first after one of `ROWS` evenly spaced positions.

    Long rows are sampled more often than short ones; sums are therefore projected by bytes.
    """
    size = path.stat().st_size
    seen = -1
    with path.open("rb") as file:
        for i in range(ROWS):
            start = size * i // ROWS
            file.seek(max(start - 1, 0))
            if start > 0:
                file.readline()  # to the beginning of the next line; nothing where one begins here
            if file.tell() <= seen:
                continue
            seen = file.tell()
            yield file.readline()
