"""Protocol of the artifact store, which API and workers share: the data folder, or a bucket with the data folder as
cache.

Names are paths relative to the data folder, with `/`; files are immutable once published.
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
    """The bucket is unreachable; the operation may be retried."""


class ArtifactStore(Protocol):
    """Files shared by API and workers."""

    def publish(self, name: str) -> None:
        """Publish a complete local file or folder. Idempotent.

        Raises:
            StorageUnavailable: it may be published in part, which readers do not mistake for the whole.
        """

    def fetch(self, name: str) -> None:
        """Copy a published file or folder to the local data folder.

        Raises:
            FileNotFoundError: nothing was published under this name.
            StorageUnavailable: nothing changed locally.
        """

    def checkpoint_files(self, name: str) -> list[CheckpointFile] | None:
        """Files that a checkpoint's manifest lists, without the manifest; `None` when a file is missing.

        A row may outlive its folder after a database restore or the loss of a disk.

        Raises:
            StorageUnavailable: the bucket is unreachable.
        """

    def local(self, name: str) -> Path | None:
        """Path of a file that this process can read directly; `None` when it has to be streamed."""

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
        """Size of a file in bytes; `None` when it does not exist."""

    def stream(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes `start` to `end` (exclusive) of a file, in chunks."""

    def remove(self, name: str) -> None:
        """Remove a file or folder, locally and from the bucket. Idempotent."""

    def evict(self, name: str) -> None:
        """Remove the local copy of a published file or folder."""

    def checkpoints(self) -> set[str]:
        """Names of the folders of all checkpoints.

        Raises:
            StorageUnavailable: the bucket is unreachable.
        """

    def datasets(self) -> set[str]:
        """Names of the files of all datasets, including those with only a local copy.

        Raises:
            StorageUnavailable: the bucket is unreachable.
        """

    def fences(self, job_id: str) -> set[int]:
        """Fences under which a job has files.

        Raises:
            StorageUnavailable: the bucket is unreachable.
        """


def fence_of(name: str) -> int | None:
    """The fence of the attempt that a file or folder belongs to; `None` if it belongs to none, such as a copy
    `fence-1.bak`."""
    match = _FENCE.fullmatch(name.split("/")[2])
    return int(match[1]) if match else None


def listed(manifest: bytes) -> list[CheckpointFile] | None:
    """Files that a checkpoint's manifest lists, without the manifest; `None` when it cannot be parsed."""
    try:
        return [CheckpointFile(name=name, **entry) for name, entry in json.loads(manifest)["files"].items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
