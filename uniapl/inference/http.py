"""One HTTP request to a model server: one deadline, a reply of bounded size, and transient errors.

The clients loop over retries themselves rather than through a library: budgets, reasons to stop early and the address
of the next attempt differ. `uniapl.inference.retry` has the waits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

from uniapl.inference.public_transport import PublicTransport
from uniapl.inference.retry import retry_after_s

SHOWN_CHARACTERS = 200
"""Characters of a server's text that messages quote."""


@dataclass(frozen=True)
class Reply:
    """A complete reply of a server."""

    status: int
    retry_after_s: float
    """The wait that its `Retry-After` header asks for; 0 without one."""
    content: bytes


class TransientError(Exception):
    """A transient failure; the request may be retried."""

    def __init__(self, problem: str, retry_after_s: float = 0.0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after_s = retry_after_s


class ReplyTimeout(TransientError):
    """No complete reply within the deadline, on an open connection."""


class ReplyTooLong(Exception):
    """A reply of more bytes than the limit."""


async def exchange(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    timeout_s: float,
    largest: int,
    body: Any = None,
    token: str | None = None,
) -> Reply:
    """Send one request and read the complete reply.

    Args:
        http: the connection pool; without timeouts of its own, which slow streams would extend.
        method: `GET` or `POST`.
        url: the absolute URL.
        timeout_s: deadline for the complete reply.
        largest: maximal bytes of the reply.
        body: sent as JSON.
        token: sent as bearer token.

    Raises:
        TransientError: there was no complete reply in time (`ReplyTimeout`), or the connection failed.
        ReplyTooLong: the reply exceeds `largest`.
        AddressRefused: the pool is restricted to a public server, and `url` is on another.
    """
    content = bytearray()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with (
            asyncio.timeout(timeout_s),
            http.stream(method, url, json=body, headers=headers) as response,
        ):
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > largest:
                    raise ReplyTooLong(f"the reply exceeds {largest} bytes")
    except TimeoutError:
        raise ReplyTimeout(f"no complete reply within {timeout_s:g} s") from None
    except httpx.RequestError as error:
        raise TransientError(f"{type(error).__name__}: {error}") from None
    return Reply(response.status_code, retry_after_s(response.headers.get("Retry-After")), bytes(content))


def connections(most: int, *, proxies: bool, public: str | None = None) -> httpx.AsyncClient:
    """A connection pool that follows no redirects, so that tokens reach no other server.

    Args:
        most: maximal number of connections.
        proxies: whether to use the proxies that the environment names.
        public: URL of the only server to connect to, which must be at public addresses; then without proxies.

    Raises:
        AddressRefused: `public` is not a URL to connect to, whatever it resolves to.
    """
    limits = httpx.Limits(max_connections=most)
    return httpx.AsyncClient(
        headers={"Accept-Encoding": "identity"},
        follow_redirects=False,
        trust_env=proxies,
        timeout=None,  # `exchange` has one deadline per request, which slow streams do not extend
        limits=limits,
        transport=None if public is None else PublicTransport(public, limits=limits),
    )


def truncate_for_message(text: str | bytes) -> str:
    """At most `SHOWN_CHARACTERS` printable characters of untrusted text, on one line."""
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
