"""Routes of `/uploads`: resumable uploads of datasets, in several requests."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.auth import Caller, ReadsJobs, WritesDatasets
from api.authenticated_route import AuthenticatedRoute
from api.http.problems import RESPONSES, BodyRefused
from api.idempotency import Once, OnceDep
from api.routes.datasets import BODY, Mapped, keep
from store.datasets import repository as datasets
from store.datasets import uploads
from store.datasets.ingest import Expected, Ingest
from store.datasets.jsonl import InvalidDataset
from store.errors import Conflict, TooLarge
from store.tables import Upload as Row
from store.tables import new_id
from uniapl.errors import DatasetError
from uniapl.spec.base import Name
from uniapl.spec.importers.mapping import FieldMap
from uniapl.spec.resources import Dataset, Upload

router = APIRouter(prefix="/uploads", tags=["uploads"], responses=RESPONSES, route_class=AuthenticatedRoute)
BLOCK = 4 * 1024 * 1024
"""Bytes that are buffered in memory before they are written and counted."""


class NewUpload(BaseModel):
    """An upload to begin."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    bytes: int = Field(ge=1)
    """Size of the file."""
    name: Name | None = None
    """Title of the dataset; by default the file's name."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Hash of the file in hex; verified."""
    filename: Name | None = None
    """Name of the file on the client."""


@router.post("", status_code=201)
def create_upload(new: Annotated[NewUpload, Body()], caller: WritesDatasets, once: OnceDep) -> Upload:
    """Begin a resumable upload: send the bytes with `PATCH`, then `POST …/complete`."""
    title, settings = new.name or new.filename or "dataset", caller.service.settings

    def create(session: Session) -> Upload:
        row = uploads.create(session, settings, name=title, size=new.bytes, sha256=new.sha256)
        return Upload.model_validate(row)

    return once.answer(caller, Upload, create)


@router.get("/{upload_id}")
def get_upload(upload_id: str, caller: ReadsJobs) -> Upload:
    """Get an upload; after an interruption, continue with the bytes from `offset` on."""
    return Upload.model_validate(_get(caller, upload_id))


@router.patch("/{upload_id}", openapi_extra=BODY)
async def append_to_upload(
    upload_id: str,
    request: Request,
    caller: WritesDatasets,
    upload_offset: Annotated[
        int, Header(ge=0, le=2**63 - 1, description="Position of the first of these bytes in the file.")
    ],
) -> Upload:
    """Append the bytes of the request body to an upload.

    409 `upload_offset` if the upload continues at another offset, which the message gives; of two requests with the
    same offset one succeeds. The bytes received before a request breaks off, or times out (408), are kept.
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
        pass  # there is no one to answer, but the received bytes are kept
    except BodyRefused as error:
        late = error
    if block:
        await run_in_threadpool(_append, caller, upload_id, offset, bytes(block))
    if late is not None:
        raise late
    return Upload.model_validate(await run_in_threadpool(_get, caller, upload_id))


@router.post("/{upload_id}/complete", status_code=201)
def complete_upload(
    upload_id: str,
    caller: WritesDatasets,
    once: OnceDep,
    mapped: Mapped = [],  # noqa: B006  (FastAPI copies defaults)
) -> Dataset:
    """Create the dataset of a complete upload; its rows are validated and mapped as by `POST /datasets`.

    The request is idempotent. If the dataset is invalid (422), the upload is deleted.
    """
    fields = FieldMap.parse(mapped)
    upload = _get(caller, upload_id)
    if upload.dataset_id is None and upload.offset < upload.bytes:
        raise Conflict(
            "upload_incomplete", f"{upload.offset} of {upload.bytes} bytes were received; send the rest first"
        )
    if upload.dataset_id is None:
        try:
            return _create_dataset(caller, once, upload, fields)
        except FileNotFoundError:  # a concurrent request has completed it
            upload = _get(caller, upload_id)
    dataset_id = upload.dataset_id
    if dataset_id is None:
        raise Conflict("upload_damaged", "the service has lost the bytes of this upload; begin a new upload")
    return once.answer(caller, Dataset, lambda session: Dataset.model_validate(datasets.get(session, dataset_id)))


@router.delete("/{upload_id}", status_code=204)
def delete_upload(upload_id: str, caller: WritesDatasets) -> None:
    """Abort an upload; a dataset that was created from it is kept."""
    _get(caller, upload_id)
    _remove(caller, upload_id)


def _create_dataset(caller: Caller, once: Once, upload: Row, fields: FieldMap) -> Dataset:
    service, dataset_id = caller.service, new_id("ds")
    path = service.artifacts.upload(upload.id)
    try:
        with (
            path.open("rb") as file,
            Ingest(service.artifacts, service.settings, dataset_id, caller.tenant, fields) as ingest,
        ):
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
