"""Artifact store in a bucket of an S3-compatible server, with the data folder as local cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import GenericError, NotFoundError
from obstore.store import S3Store

from store.artifacts.base import CHECKPOINTS, DATASETS, StorageUnavailable, fence_of, listed
from store.artifacts.local import LocalStore, files_here, remove_here
from store.settings import Settings, read_secret
from uniapl.run.manifest import MANIFEST
from uniapl.spec.resources import CheckpointFile

PART_BYTES = 16 * 1024 * 1024
"""Part size of a multipart upload; S3 allows 10,000 parts."""
AT_ONCE = 4
"""Parts of one upload that are in memory and in transfer."""
GIVE_UP = timedelta(seconds=60)
URL_LIFETIME = timedelta(minutes=15)
"""A download that has begun may take longer; one that breaks off needs a new URL."""
if TYPE_CHECKING:
    from obstore.store import S3Config
logger = logging.getLogger(__name__)


class BucketStore:
    """Objects are named like files. A folder exists once its manifest does, which is published last."""

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            ValueError: the URL is not a bucket's, or the secret cannot be read.
        """
        url = settings.artifacts_url
        if not url.startswith("s3://"):
            raise ValueError(f"UNIAPL_ARTIFACTS_URL: {url!r} is not a bucket's URL; use the form s3://bucket/prefix")
        file = settings.artifacts_secret_file
        self._root = settings.data_dir.absolute()
        self._redirects = settings.artifacts_redirect
        self._here = LocalStore(self._root)
        config: S3Config = {"checksum_algorithm": "SHA256"}  # the server rejects data altered in transfer
        if file is not None:
            config["secret_access_key"] = read_secret(file)
        self._store = S3Store.from_url(
            url,
            config=config,
            client_options={"allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http:")},
            retry_config={"max_retries": 5, "retry_timeout": GIVE_UP},
        )

    def publish(self, name: str) -> None:
        """See `ArtifactStore`."""
        path = self._root / name
        if path.is_dir():
            files = sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.name == MANIFEST)
        else:
            files = [path]
        for file in files:
            with _translated_errors():
                obstore.put(self._store, self._name(file), file, chunk_size=PART_BYTES, max_concurrency=AT_ONCE)

    def fetch(self, name: str) -> None:
        """See `ArtifactStore`. A complete local copy is not fetched again; readers of a checkpoint verify hashes."""
        path = self._root / name
        if path.is_file() or (path.is_dir() and files_here(path) is not None):
            return
        if path.is_dir():  # incomplete; another thread may have created a file since the check
            remove_here(path)
        temporary = path.with_name(f".{path.name}.{token_hex(4)}.tmp")
        with _translated_errors():
            if self.size(name) is not None:
                self._download(name, temporary)
            else:
                files = self._files(f"{name}/")
                if f"{name}/{MANIFEST}" not in files:
                    raise FileNotFoundError(name)
                for file in files:
                    self._download(file, temporary / file.removeprefix(f"{name}/"))
        try:
            temporary.rename(path)
        except OSError:  # another thread or process was faster
            remove_here(temporary)
            if not path.exists():
                raise

    def checkpoint_files(self, name: str) -> list[CheckpointFile] | None:
        """See `ArtifactStore`. The manifest is published last and removed first: with it, every file exists."""
        try:
            with _translated_errors():
                return listed(bytes(obstore.get(self._store, f"{name}/{MANIFEST}").bytes()))
        except FileNotFoundError:
            return None

    def local(self, name: str) -> Path | None:
        """Always `None`: files are streamed from the bucket, whatever the cache holds."""
        return None

    def download_url(self, name: str, *, filename: str) -> str | None:
        """See `ArtifactStore`. A client saves the file under the last segment of its name."""
        if not self._redirects or name.rpartition("/")[2] != filename.rpartition("/")[2]:
            return None
        with _translated_errors():
            return obstore.sign(self._store, "GET", name, URL_LIFETIME)

    def size(self, name: str) -> int | None:
        """See `ArtifactStore`."""
        try:
            with _translated_errors():
                return int(obstore.head(self._store, name)["size"])
        except FileNotFoundError:
            return None

    def stream(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """See `ArtifactStore`."""
        if start == end:
            return
        with _translated_errors():
            for chunk in obstore.get(self._store, name, options={"range": (start, end)}).stream():
                yield bytes(chunk)

    def remove(self, name: str) -> None:
        """See `ArtifactStore`. An object that cannot be removed is left to the next cleanup."""
        remove_here(self._root / name)
        try:
            with _translated_errors():
                files = sorted(self._files(f"{name}/"), key=lambda file: not file.endswith(f"/{MANIFEST}"))
                if files:
                    obstore.delete(self._store, files[:1])  # without its manifest the rest is not a checkpoint
                    obstore.delete(self._store, files[1:])
                elif self.size(name) is not None:
                    obstore.delete(self._store, name)
        except StorageUnavailable as error:
            logger.warning("could not remove %s: %s", name, error)

    def evict(self, name: str) -> None:
        """See `ArtifactStore`."""
        remove_here(self._root / name)

    def checkpoints(self) -> set[str]:
        """See `ArtifactStore`."""
        with _translated_errors():
            folders = {"/".join(file.split("/")[:5]) for file in self._files("jobs/")}
        there = {name for name in folders if fnmatch(name, CHECKPOINTS) and fence_of(name) is not None}
        return there | self._here.checkpoints()

    def datasets(self) -> set[str]:
        """See `ArtifactStore`."""
        with _translated_errors():
            return {name for name in self._files("datasets/") if fnmatch(name, DATASETS)} | self._here.datasets()

    def fences(self, job_id: str) -> set[int]:
        """See `ArtifactStore`."""
        with _translated_errors():
            found = obstore.list_with_delimiter(self._store, f"jobs/{job_id}/")["common_prefixes"]
        there = {fence for name in found if (fence := fence_of(name.rstrip("/"))) is not None}
        return there | self._here.fences(job_id)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _files(self, prefix: str) -> list[str]:
        return [meta["path"] for page in obstore.list(self._store, prefix) for meta in page]

    def _download(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for chunk in obstore.get(self._store, name).stream():
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Translate obstore's errors; rejected credentials are not an outage and pass unchanged.

    Raises:
        FileNotFoundError: there is no such object.
        StorageUnavailable: the server is unreachable.
    """
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise FileNotFoundError(str(error)) from None
    except GenericError as error:
        raise StorageUnavailable(f"the bucket is unreachable: {error}") from error
