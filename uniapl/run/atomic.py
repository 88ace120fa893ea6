"""Files that are whole or not there, whenever the process dies."""

from __future__ import annotations

import errno
import os
import re
import uuid
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write(path: Path, content: bytes) -> None:
    """Put a file in place, its folder made if missing: written aside, synced, and renamed last.

    Readers see the old file or the new one; of two writers the later wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def no_space(error: Exception) -> Exception | None:
    """The failed write in an error, if it failed for want of space: on the disk, in a quota, or in one file."""
    if isinstance(error, ExceptionGroup):
        return next((found for inner in error.exceptions if (found := no_space(inner))), None)
    if isinstance(error, OSError):
        return error if error.errno in NO_SPACE else None
    number = re.search(r"\(os error (\d+)\)", str(error))  # safetensors and tokenizers raise errors of their own
    return error if number and int(number[1]) in NO_SPACE else None
