"""Checkpoint folders: published by one atomic rename, with a manifest of the hashes of their files.

Free of torch, so that the launcher of a run can read its checkpoints.

    step-00000050/
        …                the contents
        manifest.json    step, versions, seeds, …, and each file's size in bytes and sha256
    .step-00000060.tmp/  unfinished, by a running or a killed writer: never read, removed by the next writer
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniapl.errors import CheckpointError
from uniapl.run import atomic

MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint that is complete on disk."""

    step: int
    path: Path
    manifest_sha256: str
    """Hash of the manifest, which holds the hash of every file."""
    bytes: int
    """Total size of its files, without the manifest."""


def folder_of(folder: Path, step: int) -> Path:
    """Path of the checkpoint of a step."""
    return folder / f"step-{step:08d}"


def steps_in(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, ascending; `verify` checks whether they are complete."""
    return sorted(int(match[1]) for path in folder.glob("step-*") if (match := _NAME.fullmatch(path.name)))


def publish(folder: Path, step: int, write: Callable[[Path], None], about: Mapping[str, Any]) -> SavedCheckpoint:
    """Write the checkpoint of `step`; it is complete or absent, even if the process or the machine dies.

    One writer at a time: unfinished checkpoints of earlier writers are removed.

    Args:
        folder: of all checkpoints of the run; created if missing.
        step: updates so far.
        write: writes the files into the empty folder that it gets.
        about: further entries of the manifest; JSON-serialisable.

    Raises:
        FileExistsError: the step has a checkpoint already.
        Exception: raised by `write` or the file system; earlier checkpoints are untouched, and nothing of this one
            is left.
    """
    final = folder_of(folder, step)
    if final.exists():
        raise FileExistsError(errno.EEXIST, "the step has a checkpoint already", str(final))
    for left in folder.glob(".step-*.tmp"):
        shutil.rmtree(left)
    with atomic.new_folder(final) as temporary:
        write(temporary)
        _sync_all(temporary)
        files = _files(temporary)
        manifest = temporary / MANIFEST
        manifest.write_text(json.dumps({"step": step, **about, "files": files}, indent=2))
        atomic.sync(manifest)
        atomic.sync(temporary)
        saved = SavedCheckpoint(step, final, _sha256(manifest), _total(files))
    return saved


def read(path: Path) -> SavedCheckpoint:
    """Check every file of a checkpoint against its manifest, which reads all of them.

    Raises:
        CheckpointError: the manifest is missing, or a file is missing, torn or altered.
    """
    try:
        text = (path / MANIFEST).read_bytes()
        manifest = json.loads(text)
        files = manifest["files"]
        for name, expected in files.items():
            if (path / name).stat().st_size != expected["bytes"] or _sha256(path / name) != expected["sha256"]:
                raise CheckpointError(f"checkpoint {path.name}: {name} is torn or altered")
        step, size = int(manifest["step"]), _total(files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"checkpoint {path.name} cannot be read: {error}") from error
    return SavedCheckpoint(step, path, hashlib.sha256(text).hexdigest(), size)


def verify(path: Path) -> int:
    """The step of a checkpoint, which is checked as by `read`.

    Raises:
        CheckpointError: see `read`.
    """
    return read(path).step


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in paths
    }


def _total(files: dict[str, dict[str, Any]]) -> int:
    return sum(int(entry["bytes"]) for entry in files.values())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_all(folder: Path) -> None:
    """Sync every file and sub-folder; tokenizers with several chat templates have a folder for them."""
    for path in sorted(folder.rglob("*")):
        atomic.sync(path)
