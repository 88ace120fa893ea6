"""Routes of `/datasets`: streamed upload, list, contents, deletion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.auth import Caller, ReadsJobs, WritesDatasets
from api.authenticated_route import AuthenticatedRoute
from api.deps import After, Limit
from api.http.problems import RESPONSES
from api.idempotency import Once, OnceStreamed
from store.artifacts.base import StorageUnavailable
from store.datasets import repository as datasets
from store.datasets import statistics
from store.datasets.ingest import Expected, Ingest
from store.errors import Conflict, NotFound
from store.paging import newest_first
from store.tables import Dataset as Row
from store.tables import new_id
from uniapl.spec.importers.mapping import FieldMap
from uniapl.spec.resources import Dataset, DatasetPreview, DatasetStatistics, Page
from uniapl.spec.stored import StoredRow

MAPPED = Query(
    alias="map",
    description="Where fields of the rows go, as FIELD:TARGET: `answer:reward.math`, `text:prompt`, `notes:ignore`; "
    "repeated, or separated by commas. A nested field is written as a path: `extra.answer`.",
)
Mapped = Annotated[list[str], MAPPED]
"""Texts for `FieldMap.parse`."""
router = APIRouter(prefix="/datasets", tags=["datasets"], responses=RESPONSES, route_class=AuthenticatedRoute)
Sha256 = Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="Hash of the body in hex; verified.")]
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "JSON Lines in UTF-8, or Parquet; plain, gzip or zstd; detected from the first bytes.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("application/jsonl", "application/octet-stream")
        },
    }
}


class StoredRowPage(Page[StoredRow]):
    """The first rows of a dataset."""


@router.post("", status_code=201, openapi_extra=BODY)
async def upload_dataset(
    request: Request,
    caller: WritesDatasets,
    once: OnceStreamed,
    name: Annotated[str, Query(min_length=1, max_length=200, description="Title.")] = "dataset",
    size: Annotated[int | None, Query(alias="bytes", ge=0, description="Size of the body; verified.")] = None,
    sha256: Sha256 = None,
    mapped: Mapped = [],  # noqa: B006  (FastAPI copies defaults)
) -> Dataset:
    """Upload a dataset in the request body: JSON Lines or Parquet, plain, gzip or zstd.

    A row is `{"messages": [{"role", "content"}…], "reference"?, "reward"?, "id"?, "tags"?}`, or has the fields of TRL
    (`prompt` with `completion` or `chosen`; `messages` that end with the answer), of IF-RLVR (`messages`,
    `ground_truth`) or of IFEval (`prompt`, `instruction_id_list`, `kwargs`). Rows are validated as they arrive. If a
    row is invalid, nothing is stored, and the response lists up to 20 invalid rows with line number, byte offset and
    reason. A row that must not be imitated, or whose answer is in an unsupported field, is invalid; `ignored_fields`
    lists the other unsupported fields, `recognised` the formats and `mapping` the use of each field. Other fields are
    mapped by `map`; `POST /datasets/preview` shows the result before anything is stored, and
    `GET /docs/bring-your-data` the commands for common datasets. For large files and
    unreliable connections use `POST /uploads`.
    """
    dataset_id, service, fields = new_id("ds"), caller.service, FieldMap.parse(mapped)
    with (
        service.limits.one_of("uploads", caller.tenant),
        Ingest(service.artifacts, service.settings, dataset_id, caller.tenant, fields) as ingest,
    ):
        async for chunk in request.stream():
            await run_in_threadpool(ingest.feed, chunk)
        row = await run_in_threadpool(ingest.finish, name, Expected(size, sha256))
        return await run_in_threadpool(keep, caller, once.with_body(row.sha256), row, add)


@router.post("/preview", openapi_extra=BODY, response_model_exclude_unset=True)
async def preview_upload(
    request: Request,
    caller: WritesDatasets,
    mapped: Mapped = [],  # noqa: B006  (FastAPI copies defaults)
    rows: Annotated[int, Query(ge=1, le=100, description="Number of rows in `data`; fewer above 1 MiB.")] = 5,
) -> DatasetPreview:
    """Show how the rows of the request body are read, without storing them.

    The body, `map` and the errors are those of `POST /datasets`.
    """
    service, fields = caller.service, FieldMap.parse(mapped)
    with (
        service.limits.one_of("uploads", caller.tenant),
        Ingest(service.artifacts, service.settings, new_id("ds"), caller.tenant, fields) as ingest,
    ):
        async for chunk in request.stream():
            await run_in_threadpool(ingest.feed, chunk)
        found = await run_in_threadpool(ingest.check, "preview", Expected())
        data = await run_in_threadpool(ingest.first_rows, rows)
    return DatasetPreview(
        object="dataset.preview",
        rows=found.rows,
        references=found.references,
        rewards=found.rewards,
        ignored_fields=found.ignored_fields,
        recognised=found.recognised,
        mapping=found.mapping,
        data=data,
    )


def keep(caller: Caller, once: Once, row: Row, settle: Callable[[Session, Row], Row]) -> Dataset:
    """Publish a dataset whose file is in place, and store its row.

    The file is removed again where an equal request was faster, or the row cannot be stored.

    Raises:
        StorageUnavailable: the bucket does not answer; nothing is stored.
    """
    artifacts = caller.service.artifacts
    name = artifacts.relative(artifacts.dataset(row.id))
    try:
        artifacts.objects.publish(name)
        stored = once.answer(caller, Dataset, lambda session: Dataset.model_validate(settle(session, row)))
    except (Conflict, NotFound, StorageUnavailable):
        artifacts.objects.remove(name)
        raise
    if stored.id != row.id:
        artifacts.objects.remove(name)
    return stored


def add(session: Session, row: Row) -> Row:
    """Add a dataset that belongs to no upload."""
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


@router.get("")
def list_datasets(caller: ReadsJobs, after: After = None, limit: Limit = 20) -> Page[Dataset]:
    """List datasets, newest first."""
    with caller.reading() as session:
        rows = newest_first(session, Row, after=after, limit=limit + 1)
    return Page(data=[Dataset.model_validate(row) for row in rows[:limit]], has_more=len(rows) > limit)


@router.get("/{dataset_id}")
def get_dataset(dataset_id: str, caller: ReadsJobs) -> Dataset:
    """Get one dataset."""
    return Dataset.model_validate(_get(caller, dataset_id))


@router.get("/{dataset_id}/preview", response_model_exclude_unset=True)
def preview_dataset(
    dataset_id: str,
    caller: ReadsJobs,
    rows: Annotated[
        int, Query(ge=1, le=100, description="Number of rows; fewer are returned if they exceed 1 MiB.")
    ] = 20,
) -> StoredRowPage:
    """Show the first rows in the format in which they are stored and trained on, whatever format was uploaded."""
    dataset = _get(caller, dataset_id)
    try:
        first = statistics.first_rows(caller.service.artifacts.fetched(dataset_id), rows)
    except FileNotFoundError:
        raise NotFound("dataset", dataset_id) from None
    return StoredRowPage(object="list", data=first, has_more=len(first) < dataset.rows)


@router.get("/{dataset_id}/statistics")
def get_dataset_statistics(
    dataset_id: str,
    caller: ReadsJobs,
    student: Annotated[str | None, Query(description="A registered student whose tokenizer counts tokens.")] = None,
) -> DatasetStatistics:
    """Summarise a dataset: lengths of prompts and references, types of rewards, tags.

    The statistics cover up to 2,000 rows, spread evenly over the dataset, within about 10 seconds.
    """
    dataset, service = _get(caller, dataset_id), caller.service
    count = statistics.token_counter(service.registry, student) if student is not None else None
    try:
        return statistics.statistics(dataset, service.artifacts.fetched(dataset_id), count)
    except FileNotFoundError:
        raise NotFound("dataset", dataset_id) from None


@router.delete("/{dataset_id}", status_code=204)
def delete_dataset(dataset_id: str, caller: WritesDatasets) -> None:
    """Delete a dataset and its file; 409 while an unfinished job uses it."""
    with caller.unit_of_work() as session:
        datasets.delete(session, dataset_id)
    artifacts = caller.service.artifacts
    artifacts.objects.remove(artifacts.relative(artifacts.dataset(dataset_id)))


def _get(caller: Caller, dataset_id: str) -> Row:
    with caller.reading() as session:
        return datasets.get(session, dataset_id)
