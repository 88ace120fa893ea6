"""Dataset methods of the client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

from uniapl.spec.dataset import DatasetRow
from uniapl.spec.resources import Dataset, DatasetPreview, DatasetStatistics, Page
from uniapl.spec.stored import RawObject, StoredRow
from uniapl_client._async import uploads
from uniapl_client._async.paging import pages
from uniapl_client._async.transport import AsyncTransport


class AsyncDatasets:
    """`client.datasets`: uploads, previews and statistics."""

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
        map: Mapping[str, str | Sequence[str]] | None = None,
    ) -> Dataset:
        """Upload a JSON Lines or Parquet file, optionally compressed. It is stored only if all rows are valid.

        `ignored_fields` of the result lists the fields of the rows that are ignored, `recognised` and `mapping` how
        the others are read. A file above 8 MiB is sent in parts; a connection failure repeats at most one part.

        Args:
            path: the file.
            name: title; by default the file name.
            on_progress: called with sent and total bytes.
            upload_id: id of an interrupted upload to resume; the note of its error has the id.
            idempotency_key: calls with equal keys start one upload, also from several processes.
            map: where fields of the rows go, such as `{"answer": "reward.math", "notes": "ignore"}`; a field may go
                to several targets.

        Raises:
            InvalidRequestError: rows are invalid; `.errors` has their lines, offsets and reasons.
        """
        path = Path(path)
        name = name or path.stem
        report, pairs = on_progress or (lambda done, total: None), uploads.pairs(map)
        if upload_id:
            upload = await uploads.get(self._transport, upload_id)
            return await uploads.resume(self._transport, path, upload, report, pairs)
        if path.stat().st_size <= uploads.PIECE:
            return await uploads.at_once(self._transport, path, name, report, idempotency_key, pairs)
        upload = await uploads.begin(self._transport, path, name, idempotency_key)
        return await uploads.resume(self._transport, path, upload, report, pairs)

    async def preview_file(
        self, path: str | Path, *, rows: int = 5, map: Mapping[str, str | Sequence[str]] | None = None
    ) -> DatasetPreview:
        """How the rows of a file are read, without storing them: recognised format, use of each field, first rows.

        Of a JSON Lines file above 8 MiB only the lines in the first 8 MiB are sent.

        Args:
            path: the file.
            rows: maximum number of rows in the result's `data`.
            map: as for `upload`.

        Raises:
            InvalidRequestError: rows are invalid; `.errors` has their lines, offsets and reasons.
        """
        return await uploads.preview(self._transport, Path(path), rows, uploads.pairs(map))

    async def get(self, dataset_id: str) -> Dataset:
        """One dataset.

        Raises:
            NotFoundError: it does not exist.
        """
        return await self._transport.request(Dataset, "GET", f"/datasets/{dataset_id}")

    def list(self) -> AsyncGenerator[Dataset]:
        """All datasets, newest first; pages are requested on demand."""
        return pages(self._transport, "/datasets", Page[Dataset])

    async def preview(self, dataset_id: str, *, rows: int = 5) -> Sequence[DatasetRow | RawObject]:
        """The first rows, as stored and used for training; fewer if they are very long."""
        path = f"/datasets/{dataset_id}/preview"
        return (await self._transport.request(Page[StoredRow], "GET", path, params={"rows": rows})).data

    async def statistics(self, dataset_id: str, *, student: str | None = None) -> DatasetStatistics:
        """Length statistics of the rows, with tokens of `student` if given."""
        path, params = f"/datasets/{dataset_id}/statistics", {"student": student} if student else {}
        return await self._transport.request(DatasetStatistics, "GET", path, params=params)

    async def delete(self, dataset_id: str) -> None:
        """Delete a dataset.

        Raises:
            ConflictError: an unfinished job refers to it.
        """
        await self._transport.send("DELETE", f"/datasets/{dataset_id}")
