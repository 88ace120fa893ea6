"""Summary of an upload: recognised formats, the use of each field, ignored fields."""

from __future__ import annotations

from uniapl.spec.importers.fields import MAX_NAME, MAX_NAMES, IgnoredFields
from uniapl.spec.importers.mapping import FieldMap
from uniapl.spec.importers.rows import Row


class Summary:
    """Counts over the rows of an upload, with a bounded number of names."""

    def __init__(self) -> None:
        self.rows = self.references = self.rewards = 0
        self.recognised: dict[str, int] = {}
        """Number of rows of each format."""
        self.mapping: dict[str, list[str]] = {}
        """Where each field went, over all rows."""
        self.ignored = IgnoredFields()

    def add(self, read: Row) -> None:
        """Count one row."""
        self.rows += 1
        self.references += read.row.reference is not None
        self.rewards += read.row.reward is not None
        self.recognised[read.format] = self.recognised.get(read.format, 0) + 1
        self.ignored.add(read.ignored)
        for name, targets in read.uses.items():
            name = name[:MAX_NAME].replace("\x00", "\ufffd")
            if name in self.mapping or len(self.mapping) < MAX_NAMES:
                known = self.mapping.setdefault(name, [])
                known += [target for target in targets if target not in known]

    def unused(self, given: FieldMap) -> list[str]:
        """Fields of a mapping that no row has."""
        return [name for name, _ in given.pairs if name[:MAX_NAME] not in self.mapping]
