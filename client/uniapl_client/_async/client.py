"""The client, with the resources `jobs`, `datasets`, `checkpoints` and `secrets`."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from uniapl.spec.resources import Model, Page
from uniapl_client._async.checkpoints import AsyncCheckpoints
from uniapl_client._async.datasets import AsyncDatasets
from uniapl_client._async.jobs import AsyncJobs
from uniapl_client._async.secrets import AsyncSecrets
from uniapl_client._async.transport import AsyncTransport
from uniapl_client._retry import Patience

DEFAULT_URL = "http://127.0.0.1:8000"


class AsyncClient:
    """A connection to one service, usable as a context manager.

    Args:
        url: address of the service; by default `UNIAPL_URL` from the environment, else the embedded service's address.
        api_key: by default `UNIAPL_API_KEY` from the environment.
        timeout_s: timeout of one request, in seconds.
        max_retries: maximum number of retries after a transient failure.
        deadline_s: maximum duration of retries, in seconds; shorter for a service that has never responded.

    Raises:
        VersionError: (at the first response) the versions of client and service are incompatible.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        max_retries: int = 20,
        deadline_s: float = 60.0,
    ) -> None:
        self._transport = AsyncTransport(
            url or os.environ.get("UNIAPL_URL", DEFAULT_URL),
            api_key=api_key or os.environ.get("UNIAPL_API_KEY"),
            timeout_s=timeout_s,
            patience=Patience(max_retries, deadline_s),
        )
        self.jobs = AsyncJobs(self._transport)
        self.datasets = AsyncDatasets(self._transport)
        self.checkpoints = AsyncCheckpoints(self._transport)
        self.secrets = AsyncSecrets(self._transport)

    async def models(self) -> list[Model]:
        """Models that job specs can use."""
        return (await self._transport.request(Page[Model], "GET", "/models")).data

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
