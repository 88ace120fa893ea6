"""Consumption of a row's fields, and counts of ignored fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MAX_NAMES = 100
"""Maximum number of ignored field names that are counted separately."""
OTHERS = "(further fields)"
"""Counter of rows with ignored fields beyond these."""
MAX_NAME = 100
"""Maximum length of a reported name, in characters."""


class RowError(ValueError):
    """A line is not a valid row; the message has the field and the reason."""


class FieldReader:
    """Consumes fields of a row; null values, which tables use for missing fields, count as absent."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._left = {name: value for name, value in fields.items() if value is not None}
        self.ignored: set[str] = set()
        """Paths of ignored parts of consumed fields, such as `messages[].name`."""

    def __contains__(self, name: object) -> bool:
        return name in self._left

    def peek(self, name: str) -> Any:
        """The value of a field, without consuming it; `None` if absent."""
        return self._left.get(name)

    def take(self, *names: str) -> Any:
        """Consume the first of these fields that is present; `None` without any."""
        return next((self._left.pop(name) for name in names if name in self._left), None)

    def unread(self) -> list[str]:
        """Names of the fields not consumed, except those with empty values."""
        return [name for name, value in self._left.items() if value not in ("", [], {})]


class IgnoredFields:
    """Number of rows with each ignored field, with a bounded number of names."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}

    def add(self, names: Iterable[str]) -> None:
        """Count one row."""
        counted = {self._known(name[:MAX_NAME].replace("\x00", "\ufffd")) for name in names}
        for name in sorted(counted):
            self.rows[name] = self.rows.get(name, 0) + 1

    def _known(self, name: str) -> str:
        return name if name in self.rows or len(self.rows) < MAX_NAMES else OTHERS
