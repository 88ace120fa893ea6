"""Local files of uploads and downloads: hashing, reading, atomic completion."""

from __future__ import annotations

import hashlib
from pathlib import Path

from uniapl_client.errors import ChecksumError

_BINARY = (b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""First bytes of Parquet, gzip and zstd."""


def sha256(path: Path) -> str:
    """SHA-256 of a file's contents, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_at(path: Path, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset`."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def first_lines(path: Path, size: int) -> bytes:
    """The complete lines within the first `size` bytes of a text; the whole file if it is Parquet or compressed."""
    with path.open("rb") as file:
        start = file.read(size)
        if len(start) < size or start.startswith(_BINARY):
            return start + file.read()
    return start[: start.rfind(b"\n") + 1] or start


def inside(folder: Path, name: str) -> Path:
    """The path of a file in a folder; creates missing folders.

    Raises:
        ChecksumError: the path is outside the folder.
    """
    target = folder / name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise ChecksumError(f"the service sent a file name outside the folder: {name!r}; the file was not written")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def settle(partial: Path, target: Path, expected: str) -> None:
    """Rename a completely downloaded file to its final name.

    Raises:
        ChecksumError: its checksum does not match; the file is deleted.
    """
    if sha256(partial) != expected:
        partial.unlink()
        raise ChecksumError(f"{target.name}: checksum mismatch; download the file again")
    partial.replace(target)
