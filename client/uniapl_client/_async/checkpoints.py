"""`client.checkpoints`"""

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
    """`client.checkpoints`"""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self, checkpoint_id: str) -> Checkpoint:
        """One checkpoint.

        Raises:
            NotFoundError: there is none.
        """
        return await self._transport.request(Checkpoint, "GET", f"/checkpoints/{checkpoint_id}")

    async def delete(self, checkpoint_id: str) -> None:
        """Delete a checkpoint and its files.

        Raises:
            ConflictError: an alias names it, or its job may resume from it.
        """
        await self._transport.send("DELETE", f"/checkpoints/{checkpoint_id}")

    async def promote(self, checkpoint_id: str, alias: str, *, version: int) -> Alias:
        """Let an alias stand for a checkpoint.

        Args:
            checkpoint_id: which one.
            alias: the name.
            version: the alias's version that you have seen; 0 for a new one.

        Raises:
            ConflictError: somebody has changed the alias since.
        """
        body = {"checkpoint_id": checkpoint_id, "version": version}
        return await self._transport.request(Alias, "PUT", f"/aliases/{alias}", json=body)

    async def aliases(self) -> list[Alias]:
        """Every alias, by name."""
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

        A dropped connection is taken up where it broke, also by a later call; a file has its name once it is whole.

        Args:
            checkpoint_id: which one.
            folder: made if missing; files that are already there and whole are kept.
            optimizer: also the optimizer's state, which only training needs.
            on_progress: called with bytes done and bytes in all.

        Raises:
            ChecksumError: a file arrived altered; it has been removed.
        """
        folder = Path(folder)
        files = [f for f in (await self.get(checkpoint_id)).files if optimizer or not f.name.startswith("optimizer")]
        total, done = sum(file.bytes for file in files), 0
        tell = partial(_tell, on_progress, total)
        for file in files:
            target = inside(folder, file.name)
            if target.is_file() and await async_run(partial(sha256, target)) == file.sha256:
                tell(done, file.bytes)
            else:
                path = f"/checkpoints/{checkpoint_id}/files/{quote(file.name)}"
                await download(self._transport, path, file, target, partial(tell, done))
            done += file.bytes
        return folder


def _tell(on_progress: Callable[[int, int], None] | None, total: int, done: int, part: int) -> None:
    if on_progress is not None:
        on_progress(done + part, total)
