"""Lists, page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TypeVar

from uniapl.spec.resources import Dataset, Job, JobEvent, Page
from uniapl_client._async.transport import AsyncTransport

Item = TypeVar("Item", Job, JobEvent, Dataset)


async def pages(
    transport: AsyncTransport, path: str, kind: type[Page[Item]], *, after: str | None = None
) -> AsyncGenerator[Item]:
    """Every item of a list, from the one after `after`; pages are fetched as needed."""
    while True:
        page = await transport.request(kind, "GET", path, params={"after": after} if after else {})
        for item in page.data:
            yield item
        if not page.has_more:
            return
        after = str(page.data[-1].id)
