"""Folders in shared memory (`/dev/shm`) for weights that a trainer hands to its sampling server.

The trainer locks its folder until it ends, also when it is killed, so that the worker can distinguish abandoned
folders from used ones, across containers too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path("/dev/shm")
PREFIX, LOCK = "uniapl-weights-", "lock"
SPARE = 2**30
"""Bytes of memory that stay free beside the weights."""


class SharedMemoryFolder:
    """A folder that is a link into shared memory where that has room, else an ordinary folder."""

    def __init__(self, path: Path, need: int, root: Path | None = None) -> None:
        """
        Args:
            path: the folder to create; it must not exist.
            need: bytes that it will hold.
            root: shared memory of the machine, by default `ROOT`.
        """
        self.path = path
        self.obstacle = _obstacle(root or ROOT, need)
        """Why the folder is not in shared memory; `None` if it is."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.obstacle is not None:
            path.mkdir()
            return
        target = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root or ROOT))
        self._lock = os.open(target / f".{LOCK}", os.O_RDONLY | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (target / f".{LOCK}").rename(target / LOCK)  # visible to `remove_abandoned` once it is locked
        path.symlink_to(target)


def remove_abandoned(root: Path | None = None) -> None:
    """Remove this user's folders in shared memory whose trainers have ended."""
    for folder in (root or ROOT).glob(f"{PREFIX}*"):
        try:
            if folder.lstat().st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDONLY)
        except OSError:  # not locked yet
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _obstacle(root: Path, need: int) -> str | None:
    try:
        free = shutil.disk_usage(root).free
    except OSError:
        return f"{root} does not exist"
    available = _available_memory()
    for name, size in ((str(root), free), ("the machine's memory", available - SPARE)):
        if size < need:
            return f"{name} has {max(size, 0) / 1e9:.1f} GB free, and the weights need {need / 1e9:.1f} GB"
    return None


def _available_memory() -> int:
    """Bytes that processes can allocate without swapping (`MemAvailable`)."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
