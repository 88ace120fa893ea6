"""Routes of `/v1/files`: datasets in the format of OpenAI's API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from api.auth import Caller, ReadsJobs, WritesDatasets
from api.authenticated_route import AuthenticatedRoute
from api.http import file_response
from api.http.problems import RESPONSES
from api.idempotency import OnceStreamed
from api.openai.fine_tuning import Cursor, ListOf
from api.openai.mapping import file_view
from api.openai.multipart import Form
from api.routes.datasets import Mapped, add, delete_dataset, keep
from store.datasets import repository as datasets
from store.datasets.ingest import Expected, Ingest
from store.errors import NotFound
from store.paging import newest_first
from store.tables import Dataset as Row
from store.tables import new_id
from uniapl.errors import SpecError
from uniapl.spec.importers.mapping import FieldMap

router = APIRouter(prefix="/v1/files", tags=["OpenAI-compatible"], responses=RESPONSES, route_class=AuthenticatedRoute)
FileId = Annotated[str, Path(alias="file_id")]
PURPOSE = "fine-tune"
NAME_LENGTH = 200
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["purpose", "file"],
                    "properties": {
                        "purpose": {"type": "string", "enum": [PURPOSE]},
                        "file": {"type": "string", "format": "binary", "description": "As for `POST /datasets`."},
                    },
                }
            }
        },
    }
}


class File(BaseModel):
    """A file of OpenAI's API: the dataset with the same id."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    id: str
    """Id of the dataset."""
    object: Literal["file"]
    """`file`"""
    bytes: int
    """Size of the dataset."""
    created_at: int
    """Time of the upload."""
    filename: str
    """The dataset's name."""
    purpose: Literal["fine-tune"]
    """`fine-tune`"""
    status: Literal["processed"]
    """`processed`: rows are validated during the upload."""


class Deleted(BaseModel):
    """A deleted file."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    """Id of the dataset."""
    object: Literal["file"] = "file"
    """`file`"""
    deleted: Literal[True] = True
    """True."""


@router.post("", openapi_extra=_FORM)
async def create_file(
    request: Request,
    caller: WritesDatasets,
    once: OnceStreamed,
    mapped: Mapped = [],  # noqa: B006  (FastAPI copies defaults)
) -> File:
    """Upload a dataset as a form with `purpose` and `file`; rows are validated and mapped as by `POST /datasets`."""
    service, fields = caller.service, FieldMap.parse(mapped)
    with (
        service.limits.one_of("uploads", caller.tenant),
        Ingest(service.artifacts, service.settings, new_id("ds"), caller.tenant, fields) as ingest,
    ):
        form = Form(request.headers.get("content-type", ""), ingest.feed)
        async for chunk in request.stream():
            await run_in_threadpool(form.feed, chunk)
        form.finish()
        if form.fields.get("purpose") != PURPOSE:
            given = form.fields.get("purpose")
            raise SpecError(f"unsupported purpose {given!r}", param="purpose", hint=f"send purpose={PURPOSE}")
        name = (form.filename or "file")[:NAME_LENGTH]
        row = await run_in_threadpool(ingest.finish, name, Expected())
        made = await run_in_threadpool(keep, caller, once.with_body(row.sha256, name), row, add)
    return _get(caller, made.id)


@router.get("")
def list_files(
    caller: ReadsJobs,
    purpose: Annotated[str | None, Query(description="Only `fine-tune` is supported.")] = None,
    after: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Items per page.")] = 100,
    order: Annotated[Literal["desc"], Query(description="Newest first.")] = "desc",
) -> ListOf:
    """List files, newest first."""
    with caller.reading() as session:
        rows = newest_first(session, Row, after=after, limit=limit + 1) if purpose in (None, PURPOSE) else []
    return ListOf(data=[file_view(row) for row in rows[:limit]], has_more=len(rows) > limit)


@router.get("/{file_id}")
def get_file(file_id: FileId, caller: ReadsJobs) -> File:
    """Get one file."""
    return _get(caller, file_id)


@router.get(
    "/{file_id}/content",
    response_class=FileResponse,
    responses=file_response.REDIRECT | {200: {"content": {"application/jsonl": {}}}},
)
def get_file_content(file_id: FileId, caller: ReadsJobs, request: Request) -> Response:
    """Download the rows in the format that they are trained on: JSON Lines with the fields of `POST /datasets`."""
    _get(caller, file_id)
    artifacts = caller.service.artifacts
    name = artifacts.relative(artifacts.dataset(file_id))
    rows = file_response.answer(request, artifacts, name, media_type="application/jsonl", immutable=True)
    if rows is None:
        raise NotFound("dataset", file_id)
    return rows


@router.delete("/{file_id}")
def delete_file(file_id: FileId, caller: WritesDatasets) -> Deleted:
    """Delete a file; 409 while an unfinished job uses it."""
    delete_dataset(file_id, caller)
    return Deleted(id=file_id)


def _get(caller: Caller, file_id: str) -> File:
    with caller.reading() as session:
        return File.model_validate(file_view(datasets.get(session, file_id)))
