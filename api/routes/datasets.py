"""/datasets: streamed upload, list."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from api.deps import After, Limit, Service, ServiceDep
from api.problems import RESPONSES
from store import datasets
from store.datasets import Upload
from store.db import reading, unit_of_work
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
    service: ServiceDep,
    name: Annotated[str, Query(min_length=1, max_length=200, description="Title.")] = "dataset",
) -> Dataset:
    """Upload a dataset as JSON Lines in the request body.

    Each line is `{"messages": [{"role", "content"}…], "reference"?, "reward"?, "id"?, "tags"?}`. Lines are validated as
    they arrive; if any is bad the answer lists up to 20 of them with line number, byte offset and reason, and nothing
    is kept.
    """
    dataset_id = new_id("ds")
    with Upload(service.artifacts.upload(dataset_id), service.settings.max_line_bytes) as upload:
        async for chunk in request.stream():
            await run_in_threadpool(upload.feed, chunk)
        return await run_in_threadpool(_store, service, upload, dataset_id, name)


def _store(service: Service, upload: Upload, dataset_id: str, name: str) -> Dataset:
    row: Row = upload.finish(service.artifacts.dataset(dataset_id), dataset_id, name)
    with unit_of_work(service.engine) as session:
        session.add(row)
        session.flush()
        session.refresh(row)
        return Dataset.model_validate(row)


@router.get("")
def list_datasets(service: ServiceDep, after: After = None, limit: Limit = 20) -> Page[Dataset]:
    """Datasets, newest first."""
    with reading(service.engine) as session:
        found = newest_first(session, Row, after=after, limit=limit + 1)
    return Page(data=[Dataset.model_validate(row) for row in found[:limit]], has_more=len(found) > limit)


@router.get("/{dataset_id}")
def get_dataset(dataset_id: str, service: ServiceDep) -> Dataset:
    """One dataset."""
    with reading(service.engine) as session:
        return Dataset.model_validate(datasets.get(session, dataset_id))
