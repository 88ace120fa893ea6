"""Random rows derived from published datasets: each keeps its meaning, or is refused with a reason.

`make field` reads 5,000 rows per property; FIELD_ROWS sets another number.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.uniapl.spec.importers.test_layouts import CONVERSATIONS
from tests.uniapl.spec.importers.test_published_sets import HISTORY, PUBLISHED, WITH_TOOLS
from uniapl.spec.importers.fields import IgnoredFields
from uniapl.spec.importers.rows import FIELDS, RowError, read_row

pytestmark = pytest.mark.unit

Json = dict[str, Any]
ROWS = int(os.environ.get("FIELD_ROWS", "200"))
SHAPES: list[Json] = [*(row for _, row, _ in PUBLISHED), *WITH_TOOLS.values(), HISTORY, *CONVERSATIONS.values()]
EXTRA: Json = {
    **{"source": "a", "split": "train", "__index_level_0__": 3, "uuid": "u", "lang": "en", "meta": {"a": [1]}},
    **{"score": 0.5, "turns": 2, "timestamp": "now", "is_english": True, "model": "m"},
}
"""Columns of metadata, which no format has."""
TURN_NULLS = ("tool_calls", "name", "weight", "tool_call_id", "function_call", "refusal", "audio")
OTHER_WORDS = {"role": "from", "content": "value"}
PUT = settings(max_examples=ROWS, deadline=None, suppress_health_check=list(HealthCheck))


def is_turn(value: Any) -> bool:
    return isinstance(value, dict) and ({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys())


@st.composite
def rewritten(draw: st.DrawFn, value: Any) -> Any:
    """The same value as another tool writes it: order of keys, nulls, parts of contents, names of a turn's keys."""
    if isinstance(value, list):
        return [draw(rewritten(item)) for item in value]
    if not isinstance(value, dict):
        return value
    items = {key: draw(rewritten(item)) for key, item in value.items()}
    if is_turn(value):
        items |= dict.fromkeys(draw(st.lists(st.sampled_from(TURN_NULLS), max_size=3)), None) | items
        if "content" in items and isinstance(items["content"], str) and draw(st.booleans()):
            items["content"] = [{"type": "text", "text": items["content"], "image_url": None}]
        elif "content" in items and draw(st.booleans()):
            items = {OTHER_WORDS.get(key, key): item for key, item in items.items()}
    return dict(draw(st.permutations(list(items.items()))))


@st.composite
def padded(draw: st.DrawFn, row: Json) -> tuple[Json, set[str]]:
    """A row between columns of a table: fields that only other rows have, and columns of metadata."""
    extra = {name: EXTRA[name] for name in draw(st.lists(st.sampled_from(sorted(EXTRA)), unique=True))}
    nulls = draw(st.lists(st.sampled_from([*FIELDS, "image", "audio"]), max_size=4))
    whole = {**dict.fromkeys(nulls), **extra, **row}
    ignored = {name for name in extra if name not in row}
    return dict(draw(st.permutations(list(whole.items())))), ignored


@PUT
@given(st.data())
def test_a_row_keeps_its_meaning_however_it_is_written(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    plain = read_row(json.dumps(shape))
    row, extra = data.draw(padded(data.draw(rewritten(shape))))
    read = read_row(json.dumps(row))
    assert read.row == plain.row
    assert read.ignored == plain.ignored | extra
    assert read_row(read.line).row == read.row


class Freshener:
    """Gives every text of a row a word of its own, and every gold a number of its own; equal texts stay equal."""

    def __init__(self, start: int) -> None:
        self._next = start
        self._known: dict[str, str] = {}

    def fresh(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.fresh(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fresh(item) for item in value]
        if value == 7 and not isinstance(value, bool):
            value = "7"
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        if text not in self._known:
            self._next += 1
            changed = re.sub(r"\b7\b", str(self._next), text)
            is_prose = " " in text and not text.startswith(("{", "["))
            self._known[text] = f"{changed} T{self._next}" if changed == text and is_prose else changed
        return self._known[text]


def marks(value: Any) -> set[str]:
    """The words and numbers that `Freshener` gave to a value."""
    return set(re.findall(r"T?\d{6}", json.dumps(value)))


@st.composite
def mixed(draw: st.DrawFn) -> Json:
    """A row with parts of two formats, values that are nested one level deeper, and renamed fields."""
    row: Json = {}
    for start in range(100_000, 100_000 * draw(st.integers(2, 3)), 100_000):
        shape = Freshener(start).fresh(draw(st.sampled_from(SHAPES)))
        row = shape | row if draw(st.booleans()) else row | shape
    for name in draw(st.lists(st.sampled_from(sorted(row)), max_size=2, unique=True)):
        change = draw(st.sampled_from(["drop", "wrap", "list", "text", "rename", "first"]))
        value = row.pop(name)
        if change == "rename":
            row[draw(st.sampled_from(FIELDS))] = value
        elif change != "drop":
            first = value[0] if isinstance(value, list) and value else value
            row[name] = {"wrap": {"value": value}, "list": [value], "text": json.dumps(value), "first": first}[change]
    return row


@PUT
@given(mixed())
def test_no_accepted_row_loses_an_answer_a_gold_or_a_turn_unnamed(row: Json) -> None:
    line = json.dumps(row)
    try:
        read = read_row(line)
    except RowError as error:
        if re.match(r".+[:,;] .+", str(error), re.DOTALL) and len(str(error)) < 2000:
            return
        raise
    kept = marks(json.loads(read.line))
    for name, value in row.items():
        lost = marks(value) - kept
        named = [path for path in read.ignored if path == name or path.startswith((f"{name}.", f"{name}["))]
        assert not lost or named, (name, lost, sorted(read.ignored))


def test_the_counts_of_ignored_fields_are_those_of_the_rows() -> None:
    counted = IgnoredFields()
    for shape in SHAPES:
        counted.add(read_row(json.dumps(shape | {"source_of_row": "a"})).ignored)
    assert counted.rows["source_of_row"] == len(SHAPES)
