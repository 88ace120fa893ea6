"""Resumable uploads: a row counts the received bytes, a file holds them.

Bytes are written under the lock of their row; of two concurrent writers one gets a conflict. After a crash the file may
be longer than the row's count, and the next writer truncates it.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from store import tenants
from store.db import now
from store.errors import Conflict, NotFound, TooLarge
from store.settings import Settings
from store.tables import Dataset, Upload, new_id


def create(session: Session, settings: Settings, *, name: str, size: int, sha256: str | None) -> Upload:
    """Create an upload.

    Raises:
        TooLarge: the size exceeds the operator's limit.
    """
    if size > settings.max_dataset_bytes:
        raise TooLarge(
            f"{size} bytes exceed the limit of {settings.max_dataset_bytes}; split the dataset into several ones"
        )
    upload = Upload(
        id=new_id("up"),
        tenant=tenants.tenant_of(session),
        name=name,
        bytes=size,
        sha256=sha256,
        expires_at=now() + settings.upload_expiry_s,
    )
    session.add(upload)
    session.flush()
    session.refresh(upload)
    return upload


def get(session: Session, upload_id: str) -> Upload:
    """One upload.

    Raises:
        NotFound: there is none; it may have expired.
    """
    upload = session.get(Upload, upload_id)
    if upload is None:
        raise NotFound("upload", upload_id)
    return upload


def expect(upload: Upload, offset: int, size: int) -> None:
    """Check that `size` bytes may be appended at `offset`.

    Raises:
        Conflict: the upload continues at another offset.
        TooLarge: it would become longer than announced.
    """
    if offset != upload.offset:
        raise Conflict(
            "upload_offset", f"offset {offset} does not match the upload; continue at offset {upload.offset}"
        )
    if offset + size > upload.bytes:
        raise TooLarge(f"the upload would have {offset + size} bytes, but {upload.bytes} were announced")


def append(session: Session, settings: Settings, path: Path, upload_id: str, offset: int, data: bytes) -> None:
    """Write the bytes that follow the first `offset`.

    Raises:
        NotFound: there is no such upload.
        Conflict: another request appended meanwhile, or the file has lost bytes.
        TooLarge: there are more bytes than announced.
    """
    expect(get(session, upload_id), offset, len(data))
    here = (Upload.id == upload_id) & (Upload.offset == offset)
    later = {"offset": offset + len(data), "expires_at": now() + settings.upload_expiry_s}
    moved = session.execute(update(Upload).where(here).values(later).returning(Upload.offset)).one_or_none()
    if moved is None:
        session.expire_all()
        expect(get(session, upload_id), offset, len(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    if offset > 0 and not (path.exists() and path.stat().st_size >= offset):
        raise Conflict("upload_damaged", "the service has lost part of this upload; start a new upload")
    with path.open("r+b" if offset > 0 else "wb") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(data)


def settle(session: Session, upload_id: str, dataset: Dataset) -> Dataset:
    """Add the dataset of a complete upload, or return the existing one if another request added it first.

    Raises:
        NotFound: the upload has expired meanwhile.
    """
    session.add(dataset)
    session.flush()
    here = (Upload.id == upload_id) & Upload.dataset_id.is_(None)
    moved = session.execute(update(Upload).where(here).values(dataset_id=dataset.id).returning(Upload.id)).one_or_none()
    if moved is not None:
        session.refresh(dataset)
        return dataset
    session.delete(dataset)
    upload = get(session, upload_id)
    session.refresh(upload)
    return session.get_one(Dataset, upload.dataset_id)


def remove(session: Session, upload_id: str) -> None:
    """Delete an upload; the caller removes its file after the commit. Idempotent."""
    session.execute(delete(Upload).where(Upload.id == upload_id))


def expire(session: Session) -> list[str]:
    """Delete the expired uploads.

    Returns:
        Their ids.
    """
    return list(session.scalars(delete(Upload).where(Upload.expires_at < now()).returning(Upload.id)))
