"""What the spec of a stored job names, of any release.

A newer release may name things in places that this one does not know. To keep too much until the job ends does less
harm than to delete what it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

FREE = ("name", "tags")
"""Parts of a spec that are its owner's own words."""


def names_dataset(spec: Any, dataset_id: str) -> bool:
    """Whether a spec contains the id of a dataset, its owner's own words left out."""
    return dataset_id in _texts(_without_own_words(spec))


def names_secret(spec: Any, name: str) -> bool:
    """Whether a spec contains the name of a secret below a key that speaks of secrets, such as `api_key_secret`."""
    return any(name in _texts(value) for key, value in _pairs(_without_own_words(spec)) if "secret" in key)


def _without_own_words(spec: Any) -> Any:
    return {key: value for key, value in spec.items() if key not in FREE} if isinstance(spec, dict) else spec


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key at any depth, with what it holds."""
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
