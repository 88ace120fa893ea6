"""Which addresses the operator has listed (`UNIAPL_TEACHER_URLS`, `UNIAPL_DISCRIMINATOR_URLS`)."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

ANY_PUBLIC = "https://*"
"""In the list: every server over https that has public addresses only."""


def is_listed(address: str, allowed: Sequence[str]) -> bool:
    """Whether an address, or one above it, is in the list itself: then wherever it is, the operator vouches for it."""
    try:
        wanted = _normal(address)
        return "%2e" not in wanted.lower() and any(
            wanted.startswith(_normal(url)) for url in allowed if url != ANY_PUBLIC
        )
    except (httpx.InvalidURL, UnicodeError):
        return False


def _normal(url: str) -> str:
    """As it is asked for: without `..`, the host in lower case."""
    return str(httpx.URL(url.rstrip("/") + "/"))
