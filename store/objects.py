"""Where the files lie that API and workers share: in the data folder itself, or in a bucket whose cache it then is.

Names are paths relative to the data folder, with `/`; what is published under a name never changes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from store.settings import Settings
from uniapl.manifest import MANIFEST
from uniapl.spec.resources import CheckpointFile

CHECKPOINTS = "jobs/*/fence-*/checkpoints/step-*"
_FENCE = re.compile(r"fence-([1-9][0-9]{0,17})")
DATASETS = "datasets/*.jsonl"


class ObjectsAway(Exception):
    """The bucket does not answer; what was asked of it can be asked again."""


class Objects(Protocol):
    """The files that are shared."""

    def publish(self, name: str) -> None:
        """Let everybody have a file or folder that is whole here. Doing so again changes nothing.

        Raises:
            ObjectsAway: it may be there in part, which nobody takes for the whole.
        """

    def fetch(self, name: str) -> None:
        """Have what was published in the data folder here.

        Raises:
            FileNotFoundError: nothing was published under this name.
            ObjectsAway: nothing has changed here.
        """

    def checkpoint_files(self, name: str) -> list[CheckpointFile] | None:
        """What the manifest of a checkpoint lists, the manifest itself left out; `None` when something is missing.

        Whoever restores a database, or loses a disk, has rows that outlive their folders.

        Raises:
            ObjectsAway: it cannot be known.
        """

    def local(self, name: str) -> Path | None:
        """Where this process can read a file itself; `None` when it has to be streamed."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; `None` when there is none."""

    def stream(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a file from `start` up to, without, `end`."""

    def remove(self, name: str) -> None:
        """Remove a file or folder, here and for everybody; nothing happens when it is gone."""

    def evict(self, name: str) -> None:
        """Nobody on this machine needs a copy of it soon."""

    def checkpoints(self) -> set[str]:
        """Names of the folders of all checkpoints.

        Raises:
            ObjectsAway: they cannot be known.
        """

    def datasets(self) -> set[str]:
        """Names of the files of all datasets, those of which only a copy is left here included.

        Raises:
            ObjectsAway: they cannot be known.
        """

    def fences(self, job_id: str) -> set[int]:
        """Fences under which something lies of a job.

        Raises:
            ObjectsAway: they cannot be known.
        """


class Folder:
    """The data folder, which all processes see: a directory on one machine, or one that several have mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def publish(self, name: str) -> None:
        """It is where everybody looks."""

    def fetch(self, name: str) -> None:
        """See `Objects`."""
        if not (self._root / name).exists():
            raise FileNotFoundError(name)

    def checkpoint_files(self, name: str) -> list[CheckpointFile] | None:
        """See `Objects`."""
        return files_here(self._root / name)

    def local(self, name: str) -> Path | None:
        """Always."""
        return self._root / name

    def size(self, name: str) -> int | None:
        """See `Objects`."""
        path = self._root / name
        return path.stat().st_size if path.is_file() else None

    def stream(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """Whoever has `local` has no need of it."""
        with (self._root / name).open("rb") as file:
            file.seek(start)
            yield file.read(end - start)

    def remove(self, name: str) -> None:
        """See `Objects`."""
        remove_here(self._root / name)

    def evict(self, name: str) -> None:
        """What lies here is no copy."""

    def checkpoints(self) -> set[str]:
        """See `Objects`."""
        found = (path.relative_to(self._root).as_posix() for path in self._root.glob(CHECKPOINTS))
        return {name for name in found if fence_of(name) is not None}

    def datasets(self) -> set[str]:
        """See `Objects`."""
        return {path.relative_to(self._root).as_posix() for path in self._root.glob(DATASETS)}

    def fences(self, job_id: str) -> set[int]:
        """See `Objects`."""
        found = (fence_of(f"jobs/{job_id}/{path.name}") for path in (self._root / "jobs" / job_id).glob("fence-*"))
        return {fence for fence in found if fence is not None}


def fence_of(name: str) -> int | None:
    """The fence of the attempt that a file or folder belongs to; `None` for a folder of no attempt, such as a copy
    `fence-1.bak`."""
    match = _FENCE.fullmatch(name.split("/")[2])
    return int(match[1]) if match else None


def listed(manifest: bytes) -> list[CheckpointFile] | None:
    """What a checkpoint's manifest lists, the manifest itself left out; `None` when it cannot be read."""
    try:
        return [CheckpointFile(name=name, **entry) for name, entry in json.loads(manifest)["files"].items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def files_here(folder: Path) -> list[CheckpointFile] | None:
    """The files of a checkpoint on this machine; `None` when something is missing or torn."""
    try:
        files = listed((folder / MANIFEST).read_bytes())
        whole = files is not None and all((folder / file.name).stat().st_size == file.bytes for file in files)
    except OSError:
        return None
    return files if whole else None


def remove_here(path: Path) -> None:
    """Remove a file or folder on this machine."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def of(settings: Settings) -> Objects:
    """What the settings say.

    Raises:
        ValueError: they name something else than a bucket, or a secret that cannot be read.
    """
    if not settings.artifacts_url:
        return Folder(settings.data_dir.absolute())
    from store.bucket import Bucket  # a compiled library, which embedded use does not need

    return Bucket(settings)
