"""Preview and statistics of a dataset: its first rows, and lengths over an evenly spread sample."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from store.model_registry import Registry
from store.tables import Dataset
from uniapl.data import token_count
from uniapl.errors import SpecError
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.resources import DatasetStatistics, Quantiles, TextStatistics
from uniapl.spec.stored import STORED_ROW, RawObject

SAMPLE = 2000
"""Number of sampled rows."""
PATIENCE_S = 10.0
"""Time limit of sampling; the rows read until then are still evenly spread, since the order is random."""
PREVIEW_BYTES = 1024 * 1024
TAGS = 50

Count = Callable[[str], int]
"""Counts the tokens of a text."""


def first_rows(path: Path, count: int) -> list[DatasetRow | RawObject]:
    """Up to `count` rows from the beginning: at least one, and at most `PREVIEW_BYTES` of them."""
    rows: list[DatasetRow | RawObject] = []
    size = 0
    with path.open("rb") as file:
        for line in file:
            size += len(line)
            if len(rows) == count or (rows and size > PREVIEW_BYTES):
                break
            rows.append(_row(line))
    return rows


def _row(line: bytes) -> DatasetRow | RawObject:
    try:
        return DatasetRow.model_validate_json(line)
    except ValidationError:
        return STORED_ROW.validate_python(_json(line))


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line.decode(errors="replace")


def statistics(dataset: Dataset, path: Path, count_tokens: Count | None) -> DatasetStatistics:
    """Statistics of a sample of rows, in bounded time and memory; rows of a newer release are skipped."""
    reward_types: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    lengths: dict[str, list[tuple[int, int]]] = {"prompt": [], "reference": []}
    sampled = 0
    for row in _sample(path, dataset.rows):
        sampled += 1
        reward_types.update([row.reward.type] if row.reward is not None else [])
        tags.update(set(row.tags))
        texts = {"prompt": "\n".join(message.content for message in row.messages), "reference": row.reference}
        for name, text in texts.items():
            if text is not None:
                lengths[name].append((len(text), count_tokens(text) if count_tokens is not None else 0))
    return DatasetStatistics(
        rows=dataset.rows,
        references=dataset.references,
        rewards=dataset.rewards,
        sampled_rows=sampled,
        reward_types=dict(reward_types.most_common()),
        tags=dict(tags.most_common(TAGS)),
        prompt=_text_statistics(lengths["prompt"], count_tokens is not None),
        reference=_text_statistics(lengths["reference"], count_tokens is not None),
    )


def _sample(path: Path, rows: int) -> Iterator[DatasetRow]:
    """Rows spread evenly over a file, in random order, until the end of the sample or `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    wanted = {index * rows // SAMPLE for index in range(SAMPLE)} if rows > SAMPLE else set(range(rows))
    offsets, offset = [], 0
    with path.open("rb") as file:
        for index, line in enumerate(file):
            if index in wanted:
                offsets.append(offset)
            offset += len(line)
        random.Random(0).shuffle(offsets)
        for number, offset in enumerate(offsets):
            if number and time.monotonic() > deadline:
                return
            file.seek(offset)
            row = _row(file.readline())
            if isinstance(row, DatasetRow):
                yield row


def _text_statistics(lengths: Sequence[tuple[int, int]], with_tokens: bool) -> TextStatistics | None:
    if not lengths:
        return None
    characters, tokens = zip(*lengths, strict=True)
    return TextStatistics(
        count=len(lengths), characters=_quantiles(characters), tokens=_quantiles(tokens) if with_tokens else None
    )


def _quantiles(values: Sequence[int]) -> Quantiles:
    """Mean, and nearest-rank percentiles."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return Quantiles(
        mean=sum(ordered) / len(ordered),
        p50=ordered[round(0.5 * last)],
        p95=ordered[round(0.95 * last)],
        max=ordered[-1],
    )


def token_counter(registry: Registry, student: str) -> Callable[[str], int]:
    """Token counter with a student's tokenizer; see `uniapl.data.token_count`.

    Raises:
        SpecError: the student is not registered, or its tokenizer is not on this machine.
    """
    return token_count.counter(_file(registry, student))


def _file(registry: Registry, student: str) -> Path:
    students = {name: source for name, kind, source in registry.list() if kind == "student"}
    here = {name: Path(source.path) / "tokenizer.json" for name, source in students.items() if source.path is not None}
    if student in here and here[student].is_file():
        return here[student]
    known = ", ".join(sorted(name for name, file in here.items() if file.is_file()))
    reason = "has no tokenizer.json on this machine" if student in students else "is not a registered student"
    raise SpecError(f"{student!r} {reason}", param="student", hint=f"tokens can be counted for: {known or 'none'}")
