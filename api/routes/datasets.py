"""/datasets: streamed upload, list."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.auth import Caller, ReadsJobs, WritesDatasets
from api.deps import After, Limit
from api.idempotency import Once, OnceStreamed
from api.problems import RESPONSES
from store import datasets
from store.datasets import Upload
from store.errors import Conflict
from store.paging import newest_first
from store.tables import Dataset as Row
from store.tables import new_id
from uniapl.spec.resources import Dataset, Page

router = APIRouter(prefix="/datasets", tags=["datasets"], responses=RESPONSES)

_JSONL_BODY = {
    "requestBody": {
        "required": True,
        "description": "JSON Lines: one `DatasetRow` object a line, UTF-8.",
        "content": {"application/jsonl": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("", status_code=201, openapi_extra=_JSONL_BODY)
async def upload_dataset(
    request: Request,
    caller: WritesDatasets,
    once: OnceStreamed,
    name: Annotated[str, Query(min_length=1, max_length=200, description="Title.")] = "dataset",
) -> Dataset:
    """Upload a dataset as JSON Lines in the request body.

    Each line is `{"messages": [{"role", "content"}…], "reference"?, "reward"?, "id"?, "tags"?}`. Lines are validated as
    they arrive; if any is bad the answer lists up to 20 of them with line number, byte offset and reason, and nothing
    is kept.
    """
    dataset_id, service = new_id("ds"), caller.service
    temporary = service.artifacts.upload(dataset_id)
    with service.limits.one_of("uploads", caller.tenant), Upload(temporary, service.settings.max_line_bytes) as upload:
        async for chunk in request.stream():
            await run_in_threadpool(upload.feed, chunk)
        return await run_in_threadpool(_store, caller, once, upload, dataset_id, name)


def _store(caller: Caller, once: Once, upload: Upload, dataset_id: str, name: str) -> Dataset:
    path = caller.service.artifacts.dataset(dataset_id)
    row: Row = upload.finish(path, dataset_id, name, caller.tenant)
    objects, file = caller.service.artifacts.objects, caller.service.artifacts.relative(path)
    objects.publish(file)

    def add(session: Session) -> Dataset:
        session.add(row)
        session.flush()
        session.refresh(row)
        return Dataset.model_validate(row)

    try:
        stored = once.about(row.sha256).answer(caller, Dataset, add)
    except Conflict:
        objects.remove(file)
        raise
    if stored.id != dataset_id:  # it was there already
        objects.remove(file)
    return stored


@router.get("")
def list_datasets(caller: ReadsJobs, after: After = None, limit: Limit = 20) -> Page[Dataset]:
    """Datasets, newest first."""
    with caller.reading() as session:
        found = newest_first(session, Row, after=after, limit=limit + 1)
    return Page(data=[Dataset.model_validate(row) for row in found[:limit]], has_more=len(found) > limit)


@router.get("/{dataset_id}")
def get_dataset(dataset_id: str, caller: ReadsJobs) -> Dataset:
    """One dataset."""
    with caller.reading() as session:
        return Dataset.model_validate(datasets.get(session, dataset_id))
