"""The client; its resources are `client.jobs`, `client.datasets`, `client.checkpoints`,
`client.secrets`.
"""

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
    """A connection to one service. Usable as a context manager.

    Args:
        url: address of the service; by default the environment's `UNIAPL_URL`, else the embedded service's.
        api_key: by default the environment's `UNIAPL_API_KEY`.
        timeout_s: how long one answer may take.
        max_retries: how often a request is sent again that failed for a reason that may pass.
        deadline_s: how long it is sent again; a service that has never answered is given up sooner.

    Raises:
        VersionError: (at the first answer) the service is too old or too new for this client.
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
        """Models that a spec may name."""
        return (await self._transport.request(Page[Model], "GET", "/models")).data

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
