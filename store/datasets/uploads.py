"""Uploads that can be resumed: the row says how much has come, and a file holds it.

Bytes are written under the lock of the row that counts them, so that of two writers one is told to look again. After a
crash in between the file is longer than the row says, and the next writer cuts it.
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
    """Begin an upload.

    Raises:
        TooLarge: nothing so large is taken.
    """
    if size > settings.max_dataset_bytes:
        raise TooLarge(f"a dataset may have {settings.max_dataset_bytes} bytes; send it in parts")
    upload = Upload(
        id=new_id("up"),
        tenant=tenants.of(session),
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
    """Whether `size` bytes may come at `offset`.

    Raises:
        Conflict: the upload goes on elsewhere.
        TooLarge: it would be longer than announced.
    """
    if offset != upload.offset:
        raise Conflict("upload_offset", f"the upload goes on at offset {upload.offset}, not at {offset}")
    if offset + size > upload.bytes:
        raise TooLarge(f"{upload.bytes} bytes were announced, and {offset + size} would come")


def append(session: Session, settings: Settings, path: Path, upload_id: str, offset: int, data: bytes) -> None:
    """Write the bytes that follow the first `offset`.

    Raises:
        NotFound: there is no such upload.
        Conflict: somebody else has written meanwhile, or the file has lost what it had.
        TooLarge: there are more than were announced.
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
        raise Conflict("upload_damaged", "the service has lost a part of this upload; begin it again")
    with path.open("r+b" if offset > 0 else "wb") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(data)


def settle(session: Session, upload_id: str, dataset: Dataset) -> Dataset:
    """Add the dataset that an upload has become; the one that is there if somebody else was faster.

    Raises:
        NotFound: the upload has been given up meanwhile.
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
    """Give an upload up; the caller removes its file after the commit. Doing so twice is harmless."""
    session.execute(delete(Upload).where(Upload.id == upload_id))


def expire(session: Session) -> list[str]:
    """Give up the uploads to which nothing has been added for too long.

    Returns:
        Their ids.
    """
    return list(session.scalars(delete(Upload).where(Upload.expires_at < now()).returning(Upload.id)))
