"""Atomic writes: files and folders written aside and renamed into place, so that a crash leaves the old or the new."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file with the permissions `mode`, less the umask; its folder is created if missing.

    Readers see the old file or the new one; of two writers the later wins.

    Raises:
        OSError: the file cannot be written; the old one is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends, and is removed when the block raises.

    One writer at a time: what an earlier one left unfinished is removed. `path` must not exist when the block ends,
    and files that must survive a power failure are synced in the block.

    Raises:
        OSError: the folder cannot be created or renamed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def no_space(error: Exception) -> Exception | None:
    """The failed write in an error, if it failed for lack of space: on the disk, in a quota, or in one file."""
    if isinstance(error, ExceptionGroup):
        return next((found for inner in error.exceptions if (found := no_space(inner))), None)
    if isinstance(error, OSError):
        return error if error.errno in NO_SPACE else None
    number = re.search(r"\(os error (\d+)\)", str(error))  # safetensors and tokenizers raise errors of their own
    return error if number and int(number[1]) in NO_SPACE else None
