"""Test tiers: a marker on every test names the make target that runs it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

TIERS = ("unit", "integration", "full", "contract", "vllm", "engine", "engine_short", "faults", "faults_short")
"""A test with the markers of several tiers belongs to the last of them."""
MARKER = re.compile(r"pytest\.mark\.(\w+)")


def tier_of(item: pytest.Item) -> str:
    """Return the tier of a test.

    Raises:
        pytest.UsageError: the test has no tier.
    """
    found = [tier for tier in TIERS if item.get_closest_marker(tier)]
    if not found:
        raise pytest.UsageError(
            f"{item.nodeid} belongs to no tier. Add `pytestmark = pytest.mark.<tier>` to the file; "
            f"the tiers are {', '.join(TIERS)}."
        )
    return found[-1]


def selected(expression: str) -> set[str]:
    """Return the tiers that a `-m` expression of the form `a or b` selects, all of them for any other expression."""
    names = set(expression.split(" or "))
    return names if names <= set(TIERS) else set(TIERS)


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of other tiers.

    Pytest's own `-m unit` would keep a test of the file's tier `unit` whose parameter belongs to `full`.
    """
    wanted = selected(config.option.markexpr)
    others = [item for item in items if tier_of(item) not in wanted]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if tier_of(item) in wanted]


def is_unselected(path: Path, config: pytest.Config) -> bool:
    """Whether a file or folder has tests of other tiers only: it is not imported, nor is the folder's conftest."""
    files = sorted(path.rglob("test_*.py")) if path.is_dir() else [path] if path.name.startswith("test_") else []
    return bool(files) and not any(tiers_of(file) & selected(config.option.markexpr) for file in files)


@cache
def tiers_of(file: Path) -> frozenset[str]:
    """Return the tiers that a test file names, all of them if it names none."""
    named = set(MARKER.findall(file.read_text())) & set(TIERS)
    if "integration" in named:
        named.add("full")  # parameters of shared fixtures raise the tier
    return frozenset(named or TIERS)
