"""/checkpoints: metadata, files, deletion; /aliases: names for them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Request, Response
from fastapi.responses import FileResponse

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
AliasName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,95}$", description="Lower case.")]


@router.get("/aliases")
def list_aliases(caller: ReadsCheckpoints) -> Page[Alias]:
    """Every alias, by name."""
    with caller.reading() as session:
        found = aliases.all_of(session)
    return Page(data=[Alias.model_validate(alias) for alias in found], has_more=False)


@router.get("/aliases/{name}")
def get_alias(name: AliasName, caller: ReadsCheckpoints) -> Alias:
    """The checkpoint that a name stands for."""
    with caller.reading() as session:
        return Alias.model_validate(aliases.get(session, name))


@router.put("/aliases/{name}")
def promote_checkpoint(
    name: AliasName,
    caller: WritesJobs,
    checkpoint_id: Annotated[str, Body(description="What the name shall stand for.")],
    version: Annotated[int, Body(ge=0, description="The alias's version that you have seen; 0 for a new one.")],
) -> Alias:
    """Let a name stand for a checkpoint, which then is not deleted.

    Whoever comes second with the same version is told so with a 409. The same request again changes nothing.
    """
    with caller.unit_of_work() as session:
        alias = aliases.promote(session, name, checkpoint_id, version)
    return Alias.model_validate(alias)


@router.delete("/checkpoints/{checkpoint_id}", status_code=204)
def delete_checkpoint(checkpoint_id: str, caller: WritesJobs) -> None:
    """Delete a checkpoint and its files; 409 while an alias names it, or its job may resume from it."""
    with caller.unit_of_work() as session:
        row = retention.delete(session, checkpoint_id)
    caller.service.artifacts.objects.remove(row.path)


@router.get("/checkpoints/{checkpoint_id}")
def get_checkpoint(checkpoint_id: str, caller: ReadsCheckpoints) -> Checkpoint:
    """One checkpoint with its files and their hashes."""
    with caller.reading() as session:
        row = checkpoints.get(session, checkpoint_id)
    found = to_checkpoint(row, caller.service)
    if found is None:
        raise NotFound("checkpoint", checkpoint_id)
    return found


@router.get("/checkpoints/{checkpoint_id}/files/{name:path}", response_class=FileResponse)
def download_file(checkpoint_id: str, name: str, caller: ReadsCheckpoints, request: Request) -> Response:
    """One file of a checkpoint, streamed; understands `Range`. Its hash is in `GET /checkpoints/{id}`.

    `manifest.json`, whose own hash is `manifest_sha256`, can be had too.
    """
    with caller.reading() as session:
        row = checkpoints.get(session, checkpoint_id)
    found = to_checkpoint(row, caller.service)
    if found is None:
        raise NotFound("checkpoint", checkpoint_id)
    hashes = {file.name: file.sha256 for file in found.files} | {MANIFEST: row.manifest_sha256}
    if name not in hashes:  # also keeps every path outside the manifest out of reach
        raise NotFound("file", name)
    file = file_response.answer(
        request,
        caller.service.artifacts,
        f"{row.path}/{name}",
        media_type="application/octet-stream",
        filename=name,
        headers={"x-checksum-sha256": hashes[name]},
    )
    if file is None:
        raise NotFound("file", name)
    return file


def to_checkpoint(row: Row, service: Service) -> Checkpoint | None:
    """The wire form of a checkpoint; `None` when its folder has just been deleted."""
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
