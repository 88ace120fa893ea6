"""Artifact store in the data folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from store.artifacts.base import CHECKPOINTS, DATASETS, fence_of, listed
from uniapl.run.manifest import MANIFEST
from uniapl.spec.resources import CheckpointFile


class LocalStore:
    """The data folder, shared by all processes: a directory of one machine, or one that several machines mount."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def publish(self, name: str) -> None:
        """Nothing to do: files are shared where they are."""

    def fetch(self, name: str) -> None:
        """See `ArtifactStore`."""
        if not (self._root / name).exists():
            raise FileNotFoundError(name)

    def checkpoint_files(self, name: str) -> list[CheckpointFile] | None:
        """See `ArtifactStore`."""
        return files_here(self._root / name)

    def local(self, name: str) -> Path | None:
        """Always available."""
        return self._root / name

    def download_url(self, name: str, *, filename: str) -> str | None:
        """Always `None`."""
        return None

    def size(self, name: str) -> int | None:
        """See `ArtifactStore`."""
        path = self._root / name
        return path.stat().st_size if path.is_file() else None

    def stream(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """See `ArtifactStore`; callers prefer `local`."""
        with (self._root / name).open("rb") as file:
            file.seek(start)
            yield file.read(end - start)

    def remove(self, name: str) -> None:
        """See `ArtifactStore`."""
        remove_here(self._root / name)

    def evict(self, name: str) -> None:
        """Nothing to do: the folder holds originals, not copies."""

    def checkpoints(self) -> set[str]:
        """See `ArtifactStore`."""
        found = (path.relative_to(self._root).as_posix() for path in self._root.glob(CHECKPOINTS))
        return {name for name in found if fence_of(name) is not None}

    def datasets(self) -> set[str]:
        """See `ArtifactStore`."""
        return {path.relative_to(self._root).as_posix() for path in self._root.glob(DATASETS)}

    def fences(self, job_id: str) -> set[int]:
        """See `ArtifactStore`."""
        found = (fence_of(f"jobs/{job_id}/{path.name}") for path in (self._root / "jobs" / job_id).glob("fence-*"))
        return {fence for fence in found if fence is not None}


def files_here(folder: Path) -> list[CheckpointFile] | None:
    """The files of a checkpoint in a local folder; `None` when one is missing or incomplete."""
    try:
        files = listed((folder / MANIFEST).read_bytes())
        whole = files is not None and all((folder / file.name).stat().st_size == file.bytes for file in files)
    except OSError:
        return None
    return files if whole else None


def remove_here(path: Path) -> None:
    """Remove a local file, folder or link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
