"""/checkpoints: metadata and files."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import FileResponse

from api.deps import ReadSession, Service, ServiceDep
from api.problems import RESPONSES
from store import checkpoints
from store.errors import NotFound
from store.tables import Checkpoint as Row
from uniapl.spec.resources import Checkpoint

router = APIRouter(prefix="/checkpoints", tags=["checkpoints"], responses=RESPONSES)


@router.get("/{checkpoint_id}")
def get_checkpoint(checkpoint_id: str, session: ReadSession, service: ServiceDep) -> Checkpoint:
    """One checkpoint with its files and their hashes."""
    return to_checkpoint(checkpoints.get(session, checkpoint_id), service)


@router.get("/{checkpoint_id}/files/{name}", response_class=FileResponse)
def download_file(checkpoint_id: str, name: str, session: ReadSession, service: ServiceDep) -> FileResponse:
    """One file of a checkpoint, streamed; understands `Range`. Its hash is in `GET /checkpoints/{id}`."""
    row = checkpoints.get(session, checkpoint_id)
    files = {file.name: file for file in service.artifacts.checkpoint_files(row.path)}
    if name not in files:  # also keeps every path outside the manifest out of reach
        raise NotFound("file", name)
    return FileResponse(
        service.artifacts.root / row.path / name,
        media_type="application/octet-stream",
        filename=name,
        headers={"x-checksum-sha256": files[name].sha256},
    )


def to_checkpoint(row: Row, service: Service) -> Checkpoint:
    """The wire form of a checkpoint."""
    return Checkpoint(
        id=row.id,
        job_id=row.job_id,
        step=row.step,
        bytes=row.bytes,
        manifest_sha256=row.manifest_sha256,
        created_at=row.created_at,
        files=service.artifacts.checkpoint_files(row.path),
    )
