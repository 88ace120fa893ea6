"""Pagination of lists."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TypeVar

from uniapl.spec.resources import Dataset, Job, JobEvent, Page
from uniapl_client._async.transport import AsyncTransport

Item = TypeVar("Item", Job, JobEvent, Dataset)


async def pages(
    transport: AsyncTransport, path: str, kind: type[Page[Item]], *, after: str | None = None
) -> AsyncGenerator[Item]:
    """All items of a list after `after`; pages are requested on demand."""
    while True:
        page = await transport.request(kind, "GET", path, params={"after": after} if after else {})
        for item in page.data:
            yield item
        if not page.has_more:
            return
        after = str(page.data[-1].id)
