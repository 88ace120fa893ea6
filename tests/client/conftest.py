"""Every test of the SDK runs twice: with the sync client and with the async one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from uniapl_client import AsyncClient, Client

Ask = Callable[..., Any]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of hundredths of a second, and no settings from outside."""
    monkeypatch.setattr("uniapl_client._retry.BASE_S", 0.02)
    for name in ("UNIAPL_URL", "UNIAPL_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """`ask(url, lambda client: client.…, **options)`: the result; of an iterator, the list of its items."""
    return _sync if request.param == "sync" else _async


def _sync(url: str, use: Callable[[Any], Any], **options: Any) -> Any:
    with Client(url, **options) as client:
        found = use(client)
        return list(found) if hasattr(found, "__next__") else found


def _async(url: str, use: Callable[[Any], Any], **options: Any) -> Any:
    async def go() -> Any:
        async with AsyncClient(url, **options) as client:
            found = use(client)
            return [item async for item in found] if hasattr(found, "__anext__") else await found

    return anyio.run(go)
