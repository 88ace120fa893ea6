"""Checkpoint methods of the client."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

from uniapl.spec.resources import Alias, Checkpoint, Page
from uniapl_client._async.downloads import download
from uniapl_client._async.transport import AsyncTransport
from uniapl_client._blocking import async_run
from uniapl_client._files import inside, sha256


class AsyncCheckpoints:
    """`client.checkpoints`: checkpoints, aliases and downloads."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self, checkpoint_id: str) -> Checkpoint:
        """One checkpoint.

        Raises:
            NotFoundError: it does not exist.
        """
        return await self._transport.request(Checkpoint, "GET", f"/checkpoints/{checkpoint_id}")

    async def delete(self, checkpoint_id: str) -> None:
        """Delete a checkpoint and its files.

        Raises:
            ConflictError: an alias refers to it, or its job may resume from it.
        """
        await self._transport.send("DELETE", f"/checkpoints/{checkpoint_id}")

    async def promote(self, checkpoint_id: str, alias: str, *, version: int) -> Alias:
        """Point an alias to a checkpoint.

        Args:
            checkpoint_id: id of the checkpoint.
            alias: name of the alias.
            version: current version of the alias; 0 for a new alias.

        Raises:
            ConflictError: the alias was modified concurrently.
        """
        body = {"checkpoint_id": checkpoint_id, "version": version}
        return await self._transport.request(Alias, "PUT", f"/aliases/{alias}", json=body)

    async def aliases(self) -> list[Alias]:
        """All aliases, by name."""
        return (await self._transport.request(Page[Alias], "GET", "/aliases")).data

    async def download(
        self,
        checkpoint_id: str,
        folder: str | Path,
        *,
        optimizer: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Download a checkpoint into a folder that `AutoModelForCausalLM.from_pretrained` reads.

        An interrupted download is resumed, also by a later call. A file gets its final name when it is complete.

        Args:
            checkpoint_id: id of the checkpoint.
            folder: created if missing; complete files in it are not downloaded again.
            optimizer: whether to include the optimizer state, which only training needs.
            on_progress: called with downloaded and total bytes.

        Raises:
            ChecksumError: the checksum of a file does not match; the file is deleted.
        """
        folder = Path(folder)
        files = [f for f in (await self.get(checkpoint_id)).files if optimizer or not f.name.startswith("optimizer")]
        total, done = sum(file.bytes for file in files), 0
        report = partial(_report, on_progress, total)
        for file in files:
            target = inside(folder, file.name)
            if target.is_file() and await async_run(partial(sha256, target)) == file.sha256:
                report(done, file.bytes)
            else:
                path = f"/checkpoints/{checkpoint_id}/files/{quote(file.name)}"
                await download(self._transport, path, file, target, partial(report, done))
            done += file.bytes
        return folder


def _report(on_progress: Callable[[int, int], None] | None, total: int, done: int, part: int) -> None:
    if on_progress is not None:
        on_progress(done + part, total)
