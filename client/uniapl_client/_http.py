"""The transport: one httpx client, errors turned into ours."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from uniapl_client.errors import APIConnectionError, from_response

PATIENCE_S = 60.0


class Transport:
    """Sends requests to one service."""

    def __init__(self, url: str, api_key: str | None, timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self._known = False  # whether it has ever answered
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=httpx.Timeout(timeout_s, connect=5.0))

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The decoded JSON of the answer.

        Once the service has answered, reads are tried again for up to `PATIENCE_S` seconds while it is out of reach or
        says 503: whoever waits for a job for hours does not want to know that the API was restarted.

        Raises:
            APIStatusError: the service answered with an error.
            APIConnectionError: it did not answer.
        """
        give_up = time.monotonic() + (PATIENCE_S if method == "GET" and self._known else 0)
        while True:
            try:
                with self._errors():
                    response = self._client.request(method, path, **options)
                if response.status_code != 503 or time.monotonic() > give_up:
                    break
            except APIConnectionError:
                if time.monotonic() > give_up:
                    raise
            time.sleep(1)
        self._known = True
        if response.is_error:
            raise from_response(response)
        return response.json() if response.content else None

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, read_timeout_s: float = 60.0
    ) -> Iterator[httpx.Response]:
        """An answer that is read as it arrives.

        Raises:
            APIStatusError: the service answered with an error.
            APIConnectionError: it did not answer, or fell silent.
        """
        timeout = httpx.Timeout(read_timeout_s, connect=5.0)
        with self._errors(), self._client.stream("GET", path, headers=headers, timeout=timeout) as response:
            if response.is_error:
                response.read()
                raise from_response(response)
            yield response

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise APIConnectionError(f"cannot reach {self.url}: {error or type(error).__name__}") from error
