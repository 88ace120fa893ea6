"""Folders that are whole or not there: a manifest of hashes and one atomic rename.

It knows no torch, so that whoever launched a run can read what the run left.

    step-00000050/
        …                what the writer puts there
        manifest.json    step, what was told of it (versions, seeds, …), and each file's bytes and sha256
    .step-00000060.tmp/  being written, or left by a writer that was killed: never read, removed by the next one
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniapl.errors import CheckpointError

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
    """Of all its files, the manifest left out."""


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies among the others of its run."""
    return folder / f"step-{step:08d}"


def steps_in(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, ascending; whether they are whole is for `verify` to say."""
    return sorted(int(match[1]) for path in folder.glob("step-*") if (match := _NAME.fullmatch(path.name)))


def publish(folder: Path, step: int, write: Callable[[Path], None], about: Mapping[str, Any]) -> SavedCheckpoint:
    """Have `write` fill a folder, and make it the checkpoint of `step`, whenever the process or the machine dies.

    One writer at a time: what an earlier one left half done is removed.

    Args:
        folder: of all checkpoints of the run; made if missing.
        step: updates made so far.
        write: puts the files into the empty folder it is given.
        about: what else the manifest records, as JSON can hold it.

    Raises:
        FileExistsError: there is a checkpoint of that step already.
        Exception: whatever `write` or the file system raises; the checkpoints there were are untouched, and nothing
            of this one is left.
    """
    final = folder_of(folder, step)
    if final.exists():
        raise FileExistsError(errno.EEXIST, "there is a checkpoint of that step already", str(final))
    temporary = folder / f".{final.name}.tmp"
    for left in folder.glob(".step-*.tmp"):
        shutil.rmtree(left)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        _sync_all(temporary)
        files = _files(temporary)
        manifest = temporary / MANIFEST
        manifest.write_text(json.dumps({"step": step, **about, "files": files}, indent=2))
        _sync(manifest)
        _sync(temporary)
        saved = SavedCheckpoint(step, final, _sha256(manifest), _total(files))
        temporary.rename(final)
        _sync(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return saved


def read(path: Path) -> SavedCheckpoint:
    """Check every file of a checkpoint against its manifest; as slow as reading all of it.

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
    """`read`, for who needs the step alone.

    Raises:
        CheckpointError: as `read`.
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
    """Every file and sub-folder: tokenizers with several chat templates have a folder for them."""
    for path in sorted(folder.rglob("*")):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
