"""/uploads: a dataset in as many requests as it takes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Header, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.auth import Caller, ReadsJobs, WritesDatasets
from api.authenticated_route import AuthenticatedRoute
from api.http.problems import RESPONSES, BodyRefused
from api.idempotency import Once, OnceDep
from api.routes.datasets import BODY, keep
from store.datasets import repository as datasets
from store.datasets import uploads
from store.datasets.ingest import Expected, Ingest
from store.datasets.jsonl import InvalidDataset
from store.errors import Conflict, TooLarge
from store.tables import Upload as Row
from store.tables import new_id
from uniapl.errors import DatasetError
from uniapl.spec.base import Name
from uniapl.spec.resources import Dataset, Upload

router = APIRouter(prefix="/uploads", tags=["uploads"], responses=RESPONSES, route_class=AuthenticatedRoute)
BLOCK = 4 * 1024 * 1024
"""Bytes held in memory before they are written and counted."""


@router.post("", status_code=201)
def begin_upload(
    caller: WritesDatasets,
    once: OnceDep,
    size: Annotated[int, Body(alias="bytes", ge=1, description="Size of what will be sent.")],
    name: Annotated[Name | None, Body(description="Title of the dataset; by default the file's name.")] = None,
    sha256: Annotated[str | None, Body(pattern="^[0-9a-f]{64}$", description="Its hash in hex; checked.")] = None,
    filename: Annotated[Name | None, Body(description="What the file is called where it comes from.")] = None,
) -> Upload:
    """Begin an upload that can be resumed: send its bytes with `PATCH`, then `POST …/complete`."""
    title, settings = name or filename or "dataset", caller.service.settings

    def begin(session: Session) -> Upload:
        return Upload.model_validate(uploads.create(session, settings, name=title, size=size, sha256=sha256))

    return once.answer(caller, Upload, begin)


@router.get("/{upload_id}")
def get_upload(upload_id: str, caller: ReadsJobs) -> Upload:
    """How far an upload is; after a broken connection, send what follows `offset`."""
    return Upload.model_validate(_get(caller, upload_id))


@router.patch("/{upload_id}", openapi_extra=BODY)
async def append_to_upload(
    upload_id: str,
    request: Request,
    caller: WritesDatasets,
    upload_offset: Annotated[int, Header(ge=0, le=2**63 - 1, description="Where these bytes belong.")],
) -> Upload:
    """Add the bytes of the request body; as many as you like.

    409 `upload_offset` when the upload goes on elsewhere, which the message names. Of two requests with one offset one
    wins. What has come of a request that breaks off, or falls silent (408), is kept.
    """
    length = int(request.headers.get("content-length", "0"))
    uploads.expect(await run_in_threadpool(_get, caller, upload_id), upload_offset, length)
    offset, block, late = upload_offset, bytearray(), None
    try:
        async for chunk in request.stream():
            block += chunk
            if len(block) >= BLOCK:
                await run_in_threadpool(_append, caller, upload_id, offset, bytes(block))
                offset += len(block)
                block.clear()
    except ClientDisconnect:
        pass  # nobody reads the answer; the rest is written all the same
    except BodyRefused as error:
        late = error
    if block:
        await run_in_threadpool(_append, caller, upload_id, offset, bytes(block))
    if late is not None:
        raise late
    return Upload.model_validate(await run_in_threadpool(_get, caller, upload_id))


@router.post("/{upload_id}/complete", status_code=201)
def complete_upload(upload_id: str, caller: WritesDatasets, once: OnceDep) -> Dataset:
    """Make the dataset: its rows are validated as by `POST /datasets`. To ask again gives the same dataset.

    If it is refused (422), the upload is gone.
    """
    upload = _get(caller, upload_id)
    if upload.dataset_id is None and upload.offset < upload.bytes:
        raise Conflict("upload_incomplete", f"{upload.offset} of {upload.bytes} bytes have come; send the rest first")
    if upload.dataset_id is None:
        try:
            return _become(caller, once, upload)
        except FileNotFoundError:  # another request has just been faster
            upload = _get(caller, upload_id)
    dataset_id = upload.dataset_id
    if dataset_id is None:
        raise Conflict("upload_damaged", "the service has lost this upload; begin it again")
    return once.answer(caller, Dataset, lambda session: Dataset.model_validate(datasets.get(session, dataset_id)))


@router.delete("/{upload_id}", status_code=204)
def give_up_upload(upload_id: str, caller: WritesDatasets) -> None:
    """Give an upload up; the dataset that it may have become stays."""
    _get(caller, upload_id)
    _remove(caller, upload_id)


def _become(caller: Caller, once: Once, upload: Row) -> Dataset:
    service, dataset_id = caller.service, new_id("ds")
    path = service.artifacts.upload(upload.id)
    try:
        with path.open("rb") as file, Ingest(service.artifacts, service.settings, dataset_id, caller.tenant) as ingest:
            while chunk := file.read(64 * 1024):
                ingest.feed(chunk)
            row = ingest.finish(upload.name, Expected(upload.bytes, upload.sha256))
    except (InvalidDataset, DatasetError, TooLarge):
        _remove(caller, upload.id)
        raise
    dataset = keep(caller, once, row, lambda session, row: uploads.settle(session, upload.id, row))
    path.unlink(missing_ok=True)
    return dataset


def _append(caller: Caller, upload_id: str, offset: int, data: bytes) -> None:
    path = caller.service.artifacts.upload(upload_id)
    with caller.unit_of_work() as session:
        uploads.append(session, caller.service.settings, path, upload_id, offset, data)


def _remove(caller: Caller, upload_id: str) -> None:
    with caller.unit_of_work() as session:
        uploads.remove(session, upload_id)
    caller.service.artifacts.upload(upload_id).unlink(missing_ok=True)


def _get(caller: Caller, upload_id: str) -> Row:
    with caller.reading() as session:
        return uploads.get(session, upload_id)
