"""Files on this side: read in pieces, hashed, named."""

from __future__ import annotations

import hashlib
from pathlib import Path

from uniapl_client.errors import ChecksumError


def sha256(path: Path) -> str:
    """Hash of a file's contents, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_at(path: Path, offset: int, size: int) -> bytes:
    """Up to `size` bytes from byte `offset` on."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def inside(folder: Path, name: str) -> Path:
    """The path of a file in a folder that is made if missing.

    Raises:
        ChecksumError: the name leads out of the folder.
    """
    target = folder / name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise ChecksumError(f"the service names a file outside the folder: {name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def settle(partial: Path, target: Path, expected: str) -> None:
    """Give a file that has arrived its name.

    Raises:
        ChecksumError: it arrived altered; it has been removed.
    """
    if sha256(partial) != expected:
        partial.unlink()
        raise ChecksumError(f"{target.name} arrived altered; try again")
    partial.replace(target)
