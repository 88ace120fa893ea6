"""Allowlist of server URLs (`UNIAPL_TEACHER_URLS`, `UNIAPL_DISCRIMINATOR_URLS`)."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

ANY_PUBLIC = "https://*"
"""List entry that allows every https server with public addresses only."""


def is_listed(address: str, allowed: Sequence[str]) -> bool:
    """Whether a URL, or one above it, is listed explicitly; such a server may have any address."""
    try:
        wanted = _normal(address)
        return "%2e" not in wanted.lower() and any(
            wanted.startswith(_normal(url)) for url in allowed if url != ANY_PUBLIC
        )
    except (httpx.InvalidURL, UnicodeError):
        return False


def _normal(url: str) -> str:
    """Normalized URL: without `..`, the host in lower case."""
    return str(httpx.URL(url.rstrip("/") + "/"))
