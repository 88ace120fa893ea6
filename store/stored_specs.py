"""References from stored specs of any release to datasets and secrets.

A newer release may have references in fields that this one does not support. Keeping a dataset too long is less harmful
than deleting one that a job needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

FREE = ("name", "tags")
"""Fields with free text of the user."""


def names_dataset(spec: Any, dataset_id: str) -> bool:
    """Whether a spec contains the id of a dataset outside its free text."""
    return dataset_id in _texts(_without_free_text(spec))


def names_secret(spec: Any, name: str) -> bool:
    """Whether a spec contains the name of a secret below a key such as `api_key_secret`."""
    return any(name in _texts(value) for key, value in _pairs(_without_free_text(spec)) if "secret" in key)


def _without_free_text(spec: Any) -> Any:
    return {key: value for key, value in spec.items() if key not in FREE} if isinstance(spec, dict) else spec


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key at any depth, with its value."""
    if isinstance(value, dict):
        yield from value.items()
    for inner in _inside(value):
        yield from _pairs(inner)


def _texts(value: Any) -> Iterator[str]:
    """Every text at any depth, keys included."""
    if isinstance(value, str):
        yield value
    if isinstance(value, dict):
        yield from value
    for inner in _inside(value):
        yield from _texts(inner)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
