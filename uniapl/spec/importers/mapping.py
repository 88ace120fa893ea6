"""Mappings of a dataset's fields onto a row's: `answer:reward.math`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from uniapl.errors import SpecError
from uniapl.spec.importers.fields import RowError
from uniapl.spec.importers.golds import worked_value
from uniapl.spec.importers.ground_truth import truth_reward

IGNORE = "ignore"


def _math(value: Any) -> dict[str, Any]:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("must be one number or text; map it to reward.exact_match if several answers are correct")
    return {"type": "math", "answer": worked_value(str(value)) or str(value)}


def _exact(value: Any) -> dict[str, Any]:
    if any(isinstance(item, (dict, list)) for item in (value if isinstance(value, list) else [value])):
        raise ValueError("must be a text, a number or a list of them; map a part of it, as in FIELD.part")
    answer = [str(item) for item in value] if isinstance(value, list) else str(value)
    return {"type": "exact_match", "answer": answer}


_REWARDS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "math": _math,
    "exact_match": _exact,
    "regex": lambda value: {"type": "regex", "pattern": value},
    "json_schema": lambda value: {"type": "json_schema", "json_schema": value},
    "ifeval": lambda value: truth_reward(value, "reward", [], set()),
}
_FIELDS = ("prompt", "messages", "system", "tools", "reference", "reward", "id", "tags")
TARGETS = (*_FIELDS, *(f"reward.{name}" for name in _REWARDS), IGNORE)
"""Possible targets of a field."""


@dataclass(frozen=True)
class FieldMap:
    """Targets of fields, in the order in which they were given; a field may have several."""

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, given: Iterable[str]) -> FieldMap:
        """Parse `field:target` pairs; each text may contain several, separated by commas.

        Raises:
            SpecError: a pair has no target, an unknown one, or one that another pair has.
        """
        pairs = [_pair(text) for texts in given for text in texts.split(",") if text.strip()]
        targets = [target.partition(".")[0] for _, target in pairs if target != IGNORE]
        for target in targets:
            if targets.count(target) > 1:
                raise SpecError(f"map: two fields are mapped to {target}", param="map", hint="keep one of them")
        return cls(tuple(pairs))

    def columns(self) -> list[str]:
        """Names of the fields, and the first parts of dotted paths."""
        return [part for name, _ in self.pairs for part in {name, name.split(".")[0]}]

    def __bool__(self) -> bool:
        return bool(self.pairs)

    def apply(self, fields: dict[str, Any]) -> Mapped:
        """Move the mapped fields of a row to their targets; a field that is absent or null is skipped.

        Raises:
            RowError: a value does not fit its target.
        """
        left = {name: value for name, value in fields.items() if value is not None}
        values = {name: _value(left, name) for name, _ in self.pairs}
        for name in values:
            _remove(left, name)
        mapped = Mapped(left)
        for name, target in self.pairs:
            if values[name] is None:
                continue
            mapped.uses.setdefault(name, []).append(target)
            if target == IGNORE:
                mapped.ignored.add(name)
                continue
            to, value = _target(name, target, values[name])
            if left.get(to) is not None:
                mapped.ignored.add(to)
            left[to] = value
        return mapped


@dataclass
class Mapped:
    """A row after `FieldMap.apply`."""

    fields: dict[str, Any]
    uses: dict[str, list[str]] = field(default_factory=dict)
    """Targets of each field that the row has."""
    ignored: set[str] = field(default_factory=set)
    """Fields that a mapping drops or replaces."""


def _pair(text: str) -> tuple[str, str]:
    name, colon, target = text.strip().rpartition(":")
    if not colon or not name or target not in TARGETS:
        raise SpecError(
            f"map: {text.strip()!r:.100} is not a pair of a field and a target",
            param="map",
            hint=f"write FIELD:TARGET, such as answer:reward.math; targets are {', '.join(TARGETS)}",
        )
    return name, target


def _target(name: str, target: str, value: Any) -> tuple[str, Any]:
    """The field of a row that a target names, and its value.

    Raises:
        RowError: the value does not fit.
    """
    to, _, kind = target.partition(".")
    if not kind:
        return to, value
    try:
        return to, _REWARDS[kind](value)
    except ValueError as error:
        raise RowError(f"{name}: {error}") from None


def _value(fields: dict[str, Any], name: str) -> Any:
    """The value of a field, or of a dotted path of fields."""
    if name in fields:
        return fields[name]
    value: Any = fields
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _remove(fields: dict[str, Any], name: str) -> None:
    """Remove a field, or the last part of a dotted path."""
    if fields.pop(name, None) is not None:
        return
    *path, last = name.split(".")
    for part in path:
        inner = fields.get(part)
        if not isinstance(inner, dict):
            return
        fields[part] = dict(inner)
        fields = fields[part]
    fields.pop(last, None)
