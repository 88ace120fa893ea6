"""Routes of `/checkpoints` (metadata, files, deletion) and of `/aliases`, names for checkpoints."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from api.auth import ReadsCheckpoints, WritesJobs
from api.authenticated_route import AuthenticatedRoute
from api.deps import Service
from api.http import file_response
from api.http.problems import RESPONSES
from store.checkpoints import aliases, retention
from store.checkpoints import repository as checkpoints
from store.errors import NotFound
from store.tables import Checkpoint as Row
from uniapl.run.manifest import MANIFEST
from uniapl.spec.resources import Alias, Checkpoint, Page

router = APIRouter(tags=["checkpoints"], responses=RESPONSES, route_class=AuthenticatedRoute)
AliasName = Annotated[
    str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,95}$", description="Name of the alias, in lower case.")
]


class AliasTarget(BaseModel):
    """The checkpoint that an alias shall point to."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    checkpoint_id: str
    """Id of the checkpoint."""
    version: int = Field(ge=0)
    """Current version of the alias; 0 for a new one."""


@router.get("/aliases")
def list_aliases(caller: ReadsCheckpoints) -> Page[Alias]:
    """List aliases, sorted by name."""
    with caller.reading() as session:
        rows = aliases.all_of(session)
    return Page(data=[Alias.model_validate(alias) for alias in rows], has_more=False)


@router.get("/aliases/{name}")
def get_alias(name: AliasName, caller: ReadsCheckpoints) -> Alias:
    """Get the alias with this name and the checkpoint that it points to."""
    with caller.reading() as session:
        return Alias.model_validate(aliases.get(session, name))


@router.put("/aliases/{name}")
def promote_checkpoint(
    name: AliasName,
    caller: WritesJobs,
    target: Annotated[AliasTarget, Body()],
) -> Alias:
    """Point an alias to a checkpoint, which protects the checkpoint from deletion.

    A request with an outdated version is a 409, so that concurrent changes are not lost. The request is idempotent.
    """
    with caller.unit_of_work() as session:
        alias = aliases.promote(session, name, target.checkpoint_id, target.version)
    return Alias.model_validate(alias)


@router.delete("/checkpoints/{checkpoint_id}", status_code=204)
def delete_checkpoint(checkpoint_id: str, caller: WritesJobs) -> None:
    """Delete a checkpoint and its files; 409 while an alias points to it, or its job may resume from it."""
    with caller.unit_of_work() as session:
        row = retention.delete(session, checkpoint_id)
    caller.service.artifacts.objects.remove(row.path)


@router.get("/checkpoints/{checkpoint_id}")
def get_checkpoint(checkpoint_id: str, caller: ReadsCheckpoints) -> Checkpoint:
    """Get a checkpoint with its files and their hashes."""
    with caller.reading() as session:
        row = checkpoints.get(session, checkpoint_id)
    checkpoint = to_checkpoint(row, caller.service)
    if checkpoint is None:
        raise NotFound("checkpoint", checkpoint_id)
    return checkpoint


@router.get(
    "/checkpoints/{checkpoint_id}/files/{name:path}", response_class=FileResponse, responses=file_response.REDIRECT
)
def download_file(checkpoint_id: str, name: str, caller: ReadsCheckpoints, request: Request) -> Response:
    """Download one file of a checkpoint, whole or by `Range`. `GET /checkpoints/{id}` has its hash.

    `manifest.json` can be downloaded too; its hash is `manifest_sha256`.
    """
    with caller.reading() as session:
        row = checkpoints.get(session, checkpoint_id)
    checkpoint = to_checkpoint(row, caller.service)
    if checkpoint is None:
        raise NotFound("checkpoint", checkpoint_id)
    hashes = {file.name: file.sha256 for file in checkpoint.files} | {MANIFEST: row.manifest_sha256}
    if name not in hashes:  # also keeps every path outside the manifest out of reach
        raise NotFound("file", name)
    file = file_response.answer(
        request,
        caller.service.artifacts,
        f"{row.path}/{name}",
        media_type="application/octet-stream",
        filename=name,
        headers={"x-checksum-sha256": hashes[name]},
        immutable=True,
    )
    if file is None:
        raise NotFound("file", name)
    return file


def to_checkpoint(row: Row, service: Service) -> Checkpoint | None:
    """The checkpoint of a row; `None` where its folder has just been deleted."""
    listed = service.artifacts.objects.checkpoint_files(row.path)
    if listed is None:
        return None
    return Checkpoint(
        id=row.id,
        job_id=row.job_id,
        step=row.step,
        bytes=row.bytes,
        manifest_sha256=row.manifest_sha256,
        created_at=row.created_at,
        files=listed,
    )
