"""/datasets: streamed upload, list, contents, deletion."""

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
from uniapl.spec.resources import Dataset, DatasetStatistics, Page
from uniapl.spec.stored import StoredRow

router = APIRouter(prefix="/datasets", tags=["datasets"], responses=RESPONSES, route_class=AuthenticatedRoute)
Sha256 = Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="Hash of the body, in hex; checked.")]
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "JSON Lines in UTF-8, or Parquet; plain, gzip or zstd. Recognised by its first bytes.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("application/jsonl", "application/octet-stream")
        },
    }
}


@router.post("", status_code=201, openapi_extra=BODY)
async def upload_dataset(
    request: Request,
    caller: WritesDatasets,
    once: OnceStreamed,
    name: Annotated[str, Query(min_length=1, max_length=200, description="Title.")] = "dataset",
    size: Annotated[int | None, Query(alias="bytes", ge=0, description="Size of the body; checked.")] = None,
    sha256: Sha256 = None,
) -> Dataset:
    """Upload a dataset in the request body: JSON Lines or Parquet, plain, gzip or zstd.

    A row is `{"messages": [{"role", "content"}…], "reference"?, "reward"?, "id"?, "tags"?}`, or has the fields of TRL
    (`prompt` with `completion` or `chosen`; `messages` that end with the answer), of IF-RLVR (`messages`,
    `ground_truth`) or of IFEval (`prompt`, `instruction_id_list`, `kwargs`). Rows are validated as they arrive; if any
    is bad the answer lists up to 20 of them with line number, byte offset and reason, and nothing is kept. A row that
    must not be imitated, or whose answer is in a field that is not read, is bad; `ignored_fields` names all other
    fields that are not read. For a large file on a shaky line there is `POST /uploads`.
    """
    dataset_id, service = new_id("ds"), caller.service
    with (
        service.limits.one_of("uploads", caller.tenant),
        Ingest(service.artifacts, service.settings, dataset_id, caller.tenant) as ingest,
    ):
        async for chunk in request.stream():
            await run_in_threadpool(ingest.feed, chunk)
        row = await run_in_threadpool(ingest.finish, name, Expected(size, sha256))
        return await run_in_threadpool(keep, caller, once.with_body(row.sha256), row, add)


def keep(caller: Caller, once: Once, row: Row, settle: Callable[[Session, Row], Row]) -> Dataset:
    """Publish and settle a dataset whose file is in place.

    The file goes again if another request was faster, or none may come.

    Raises:
        StorageUnavailable: nothing is kept.
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
    """Add a dataset that stands for itself."""
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


@router.get("")
def list_datasets(caller: ReadsJobs, after: After = None, limit: Limit = 20) -> Page[Dataset]:
    """Datasets, newest first."""
    with caller.reading() as session:
        found = newest_first(session, Row, after=after, limit=limit + 1)
    return Page(data=[Dataset.model_validate(row) for row in found[:limit]], has_more=len(found) > limit)


@router.get("/{dataset_id}")
def get_dataset(dataset_id: str, caller: ReadsJobs) -> Dataset:
    """One dataset."""
    return Dataset.model_validate(_get(caller, dataset_id))


@router.get("/{dataset_id}/preview", response_model_exclude_unset=True)
def preview_dataset(
    dataset_id: str,
    caller: ReadsJobs,
    rows: Annotated[int, Query(ge=1, le=100, description="How many; fewer are shown if they exceed 1 MiB.")] = 20,
) -> Page[StoredRow]:
    """The first rows, as they are stored and trained on: with our own fields, whatever was uploaded."""
    found = _get(caller, dataset_id)
    try:
        shown = statistics.first_rows(caller.service.artifacts.fetched(dataset_id), rows)
    except FileNotFoundError:
        raise NotFound("dataset", dataset_id) from None
    return Page(object="list", data=shown, has_more=len(shown) < found.rows)


@router.get("/{dataset_id}/statistics")
def dataset_statistics(
    dataset_id: str,
    caller: ReadsJobs,
    student: Annotated[str | None, Query(description="A registered student, to count its tokens.")] = None,
) -> DatasetStatistics:
    """How long prompts and references are, and which rewards and tags there are.

    It is read from up to 2,000 rows, spread evenly over the dataset, within about 10 seconds.
    """
    found, service = _get(caller, dataset_id), caller.service
    count = statistics.token_counter(service.registry, student) if student is not None else None
    try:
        return statistics.statistics(found, service.artifacts.fetched(dataset_id), count)
    except FileNotFoundError:
        raise NotFound("dataset", dataset_id) from None


@router.delete("/{dataset_id}", status_code=204)
def delete_dataset(dataset_id: str, caller: WritesDatasets) -> None:
    """Delete a dataset and its file; 409 while a job that is not over names it."""
    with caller.unit_of_work() as session:
        datasets.delete(session, dataset_id)
    artifacts = caller.service.artifacts
    artifacts.objects.remove(artifacts.relative(artifacts.dataset(dataset_id)))


def _get(caller: Caller, dataset_id: str) -> Row:
    with caller.reading() as session:
        return datasets.get(session, dataset_id)
