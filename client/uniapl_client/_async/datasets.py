"""`client.datasets`"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from uniapl.spec.dataset import DatasetRow
from uniapl.spec.resources import Dataset, DatasetStatistics, Page
from uniapl.spec.stored import RawObject, StoredRow
from uniapl_client._async import uploads
from uniapl_client._async.paging import pages
from uniapl_client._async.transport import AsyncTransport


class AsyncDatasets:
    """`client.datasets`"""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def upload(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        upload_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Dataset:
        """Upload a file of rows: JSON Lines or Parquet, also compressed. It is stored only if every row is good.

        `ignored_fields` of the answer names what of the rows is not read.

        A file over 8 MiB is sent in pieces; a dropped connection costs no more than one.

        Args:
            path: the file.
            name: title; by default the file's name.
            on_progress: called with bytes sent and bytes in all.
            upload_id: go on with an upload that was given up; the note of its error has the id.
            idempotency_key: two calls with the same key begin one upload, also from two processes.

        Raises:
            InvalidRequestError: rows are bad; `.errors` has their lines, offsets and reasons.
        """
        path = Path(path)
        name = name or path.stem
        tell = on_progress or (lambda done, total: None)
        if upload_id:
            return await uploads.go_on(self._transport, path, await uploads.get(self._transport, upload_id), tell)
        if path.stat().st_size <= uploads.PIECE:
            return await uploads.at_once(self._transport, path, name, tell, idempotency_key)
        upload = await uploads.begin(self._transport, path, name, idempotency_key)
        return await uploads.go_on(self._transport, path, upload, tell)

    async def get(self, dataset_id: str) -> Dataset:
        """One dataset.

        Raises:
            NotFoundError: there is none.
        """
        return await self._transport.request(Dataset, "GET", f"/datasets/{dataset_id}")

    def list(self) -> AsyncGenerator[Dataset]:
        """All datasets, newest first; pages are fetched as needed."""
        return pages(self._transport, "/datasets", Page[Dataset])

    async def preview(self, dataset_id: str, *, rows: int = 5) -> Sequence[DatasetRow | RawObject]:
        """The first rows, as they are trained on; fewer if they are very long."""
        path = f"/datasets/{dataset_id}/preview"
        return (await self._transport.request(Page[StoredRow], "GET", path, params={"rows": rows})).data

    async def statistics(self, dataset_id: str, *, student: str | None = None) -> DatasetStatistics:
        """How long its rows are; in tokens of a student, where one is named."""
        path, params = f"/datasets/{dataset_id}/statistics", {"student": student} if student else {}
        return await self._transport.request(DatasetStatistics, "GET", path, params=params)

    async def delete(self, dataset_id: str) -> None:
        """Delete a dataset.

        Raises:
            ConflictError: a job refers to it.
        """
        await self._transport.send("DELETE", f"/datasets/{dataset_id}")
