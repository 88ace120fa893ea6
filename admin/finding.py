"""One problem that `uniapl admin doctor` reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A problem and its fix."""

    what: str
    remedy: str
