"""The fields of a row as another tool wrote it, and the account of those that nothing reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MAX_NAMES = 100
"""Names of unread fields that are counted one by one."""
OTHERS = "(further fields)"
"""Counts rows in which fields beyond these are not read."""
MAX_NAME = 100
"""Longest name that is shown, in characters."""


class RowError(ValueError):
    """A line is no row; the text names the field and the reason."""


class FieldReader:
    """Takes fields out of a row; nulls, with which tables fill what a row lacks, are none."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._left = {name: value for name, value in fields.items() if value is not None}
        self.ignored: set[str] = set()
        """Paths of what nothing reads inside fields that are read, such as `messages[].name`."""

    def __contains__(self, name: object) -> bool:
        return name in self._left

    def peek(self, name: str) -> Any:
        """A field's value; `None` without it."""
        return self._left.get(name)

    def take(self, *names: str) -> Any:
        """The value of the first of these that is there, which counts as read; `None` without any."""
        return next((self._left.pop(name) for name in names if name in self._left), None)

    def unread(self) -> list[str]:
        """What nothing has read yet; an empty value has nothing to read."""
        return [name for name, value in self._left.items() if value not in ("", [], {})]


class IgnoredFields:
    """In how many rows each field was not read; bounded, whatever names rows have."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}

    def add(self, names: Iterable[str]) -> None:
        """Count one row."""
        counted = {self._known(name[:MAX_NAME].replace("\x00", "\ufffd")) for name in names}
        for name in sorted(counted):
            self.rows[name] = self.rows.get(name, 0) + 1

    def _known(self, name: str) -> str:
        return name if name in self.rows or len(self.rows) < MAX_NAMES else OTHERS
