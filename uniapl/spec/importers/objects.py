"""JSON objects of lines: names that occur twice are rejected, and NaN counts as a missing value."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic_core import from_json

from uniapl.spec.importers.fields import RowError

NOT_JSON = "Invalid JSON"
"""Beginning of the error of a line that is not JSON."""


def read_object(line: str | bytes) -> dict[str, Any]:
    """The object of a line, with null for the NaN that pandas writes for missing values.

    Raises:
        RowError: the line is not a JSON object, or a name occurs twice in an object.
    """
    try:
        given = from_json(line)
    except ValueError as error:
        raise RowError(f"{NOT_JSON}: {error}") from None
    if not isinstance(given, dict):
        raise RowError("Input should be an object")
    refuse_duplicates(line)
    has_nan = "NaN" in line if isinstance(line, str) else b"NaN" in line
    return _without_nan(given) if has_nan else given


def refuse_duplicates(line: str | bytes) -> None:
    """Reject JSON in which an object has two values for a name, since parsers keep only the last.

    Raises:
        RowError: there is such an object.
    """
    json.loads(line, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> None:
    """An object, which is not built."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise RowError(f"{name:.100}: occurs twice in one object; remove one of its values")
        seen.add(name)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
