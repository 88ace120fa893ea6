"""/checkpoints: metadata and files."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import FileResponse

from api.deps import ReadSession, Service, ServiceDep
from api.problems import RESPONSES
from store import checkpoints
from store.errors import NotFound
from store.tables import Checkpoint as Row
from uniapl.manifest import MANIFEST
from uniapl.spec.resources import Checkpoint

router = APIRouter(prefix="/checkpoints", tags=["checkpoints"], responses=RESPONSES)


@router.get("/{checkpoint_id}")
def get_checkpoint(checkpoint_id: str, session: ReadSession, service: ServiceDep) -> Checkpoint:
    """One checkpoint with its files and their hashes."""
    found = to_checkpoint(checkpoints.get(session, checkpoint_id), service)
    if found is None:
        raise NotFound("checkpoint", checkpoint_id)
    return found


@router.get("/{checkpoint_id}/files/{name:path}", response_class=FileResponse)
def download_file(checkpoint_id: str, name: str, session: ReadSession, service: ServiceDep) -> FileResponse:
    """One file of a checkpoint, streamed; understands `Range`. Its hash is in `GET /checkpoints/{id}`.

    `manifest.json`, whose own hash is `manifest_sha256`, can be had too.
    """
    row = checkpoints.get(session, checkpoint_id)
    found = to_checkpoint(row, service)
    if found is None:
        raise NotFound("checkpoint", checkpoint_id)
    hashes = {file.name: file.sha256 for file in found.files} | {MANIFEST: row.manifest_sha256}
    if name not in hashes:  # also keeps every path outside the manifest out of reach
        raise NotFound("file", name)
    return FileResponse(
        service.artifacts.root / row.path / name,
        media_type="application/octet-stream",
        filename=name,
        headers={"x-checksum-sha256": hashes[name]},
    )


def to_checkpoint(row: Row, service: Service) -> Checkpoint | None:
    """The wire form of a checkpoint; `None` when its folder has just been deleted."""
    files = service.artifacts.checkpoint_files(row.path)
    if files is None:
        return None
    return Checkpoint(
        id=row.id,
        job_id=row.job_id,
        step=row.step,
        bytes=row.bytes,
        manifest_sha256=row.manifest_sha256,
        created_at=row.created_at,
        files=files,
    )
