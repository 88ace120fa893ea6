"""Where the files lie that API and workers share: in the data folder itself, or in a bucket whose cache it then is.

Names are paths relative to the data folder, with `/`; what is published under a name never changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from uniapl.spec.resources import CheckpointFile

CHECKPOINTS = "jobs/*/fence-*/checkpoints/step-*"
_FENCE = re.compile(r"fence-([1-9][0-9]{0,17})")
DATASETS = "datasets/*.jsonl"


class StorageUnavailable(Exception):
    """The bucket does not answer; what was asked of it can be asked again."""


class ArtifactStore(Protocol):
    """The files that are shared."""

    def publish(self, name: str) -> None:
        """Let everybody have a file or folder that is whole here. Doing so again changes nothing.

        Raises:
            StorageUnavailable: it may be there in part, which nobody takes for the whole.
        """

    def fetch(self, name: str) -> None:
        """Have what was published in the data folder here.

        Raises:
            FileNotFoundError: nothing was published under this name.
            StorageUnavailable: nothing has changed here.
        """

    def checkpoint_files(self, name: str) -> list[CheckpointFile] | None:
        """What the manifest of a checkpoint lists, the manifest itself left out; `None` when something is missing.

        Whoever restores a database, or loses a disk, has rows that outlive their folders.

        Raises:
            StorageUnavailable: it cannot be known.
        """

    def local(self, name: str) -> Path | None:
        """Where this process can read a file itself; `None` when it has to be streamed."""

    def download_url(self, name: str, *, filename: str) -> str | None:
        """A URL from which a client can download a file for a limited time without credentials.

        Args:
            name: path relative to the data folder; whether it exists is not checked.
            filename: the name under which the file has to be saved.

        Returns:
            `None` where the file has to be sent by this process: a folder has no URLs, clients cannot reach the
            bucket, or the file would be saved under another name.

        Raises:
            StorageUnavailable: the credentials that sign the URL cannot be fetched.
        """

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
            StorageUnavailable: they cannot be known.
        """

    def datasets(self) -> set[str]:
        """Names of the files of all datasets, those of which only a copy is left here included.

        Raises:
            StorageUnavailable: they cannot be known.
        """

    def fences(self, job_id: str) -> set[int]:
        """Fences under which something lies of a job.

        Raises:
            StorageUnavailable: they cannot be known.
        """


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
