"""The transport: one httpx client, requests tried again, errors turned into ours."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from pydantic import BaseModel, ValidationError

from uniapl_client._blocking import async_sleep
from uniapl_client._retry import Attempts, Patience
from uniapl_client._version import HEADER, check, client_version
from uniapl_client.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    UniaplClientError,
    from_response,
)

Answer = TypeVar("Answer", bound=BaseModel)
CONNECT_S = 5.0
SILENCE_S = 60.0
"""How long a stream may say nothing; the service sends a sign of life every 15 seconds."""
logger = logging.getLogger("uniapl_client")


class AsyncTransport:
    """Sends requests to one service."""

    def __init__(self, url: str, *, api_key: str | None, timeout_s: float, patience: Patience) -> None:
        self.url = url.rstrip("/")
        self._patience = patience
        self._timeout_s = timeout_s
        self._known = False  # whether it has ever answered
        headers = {"user-agent": f"uniapl-client/{client_version()}"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        with self._errors():
            self._client = httpx.AsyncClient(base_url=self.url, headers=headers)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def request(self, kind: type[Answer], method: str, path: str, **options: Any) -> Answer:
        """The answer as a model; options are those of `send`.

        Raises:
            APIResponseValidationError: it is something else.
            APIStatusError: the service answered with an error.
            APIConnectionError: it did not answer.
        """
        response = await self.send(method, path, **options)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            text = f"{method} {path} was answered by something that this client does not understand; is {self.url} "
            wrong = APIResponseValidationError(f"{text}a UniAPL service?")
            wrong.status, wrong.request_id = response.status_code, response.headers.get("x-request-id")
            raise wrong from error

    async def send(
        self,
        method: str,
        path: str,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        **options: Any,
    ) -> httpx.Response:
        """A successful answer, after as many attempts as patience allows.

        Args:
            method: of HTTP.
            path: under the service's address.
            idempotency_key: of a POST; made up where none is given. All attempts carry the same.
            headers: further ones.
            timeout_s: how long the answer may take, where it is not the client's own `timeout_s`.
            options: for httpx: `params`, `json`, `content`.

        Raises:
            APIStatusError: the service answered with an error.
            APIConnectionError: it did not answer.
        """
        sent = dict(headers or {})
        if method == "POST":
            sent["idempotency-key"] = idempotency_key or str(uuid4())
        timeout = httpx.Timeout(timeout_s or self._timeout_s, connect=CONNECT_S)
        attempts = self.attempts()
        while True:
            try:
                with self._errors():
                    response = await self._client.request(method, path, headers=sent, timeout=timeout, **options)
                await self._look_at(response)
                return response
            except UniaplClientError as error:
                await self.retry(attempts, error)

    @asynccontextmanager
    async def stream(self, path: str, *, headers: Mapping[str, str], **options: Any) -> AsyncIterator[httpx.Response]:
        """An answer that is read as it arrives; the caller tries again.

        Raises:
            APIStatusError: the service answered with an error.
            APIConnectionError: it did not answer, fell silent, or broke off.
        """
        timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
        options["follow_redirects"] = True  # to a URL of a bucket; httpx sends the API key to its own origin only
        with self._errors():
            async with self._client.stream("GET", path, headers=headers, timeout=timeout, **options) as response:
                await self._look_at(response)
                yield response

    def attempts(self) -> Attempts:
        """Patience for one request, or for one silence of a stream."""
        return Attempts(self._patience)

    async def retry(self, attempts: Attempts, error: UniaplClientError) -> None:
        """Wait for the next attempt; raises `error` where none is due."""
        pause_s = attempts.pause_s(error.retry_after_s, known=self._known) if error.should_retry else None
        if pause_s is None:
            raise error
        logger.debug("%s; again in %.2f s", error, pause_s)
        await async_sleep(pause_s)

    async def _look_at(self, response: httpx.Response) -> None:
        self._known = True
        if server := response.headers.get(HEADER):
            check(server)
        if not response.is_success:
            await response.aread()
            raise from_response(response)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise APITimeoutError(f"{self.url} did not answer in time: {type(error).__name__}") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            wrong = APIConnectionError(f"{self.url!r} is not the address of a service, such as http://127.0.0.1:8000")
            wrong.should_retry = False
            raise wrong from error
        except httpx.HTTPError as error:
            raise APIConnectionError(f"cannot reach {self.url}: {error or type(error).__name__}") from error
