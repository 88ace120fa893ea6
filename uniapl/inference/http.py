"""One question to a server over HTTP: one deadline, an answer of bounded size, and what another try may mend.

The retries of whoever asks are its own lines rather than a library's: what is spent, what ends them early, and where
the server is by then differ.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

from uniapl.inference.public_transport import PublicTransport
from uniapl.inference.retry import retry_after_s

SHOWN_CHARACTERS = 200
"""How much of a server's own words goes into ours."""


@dataclass(frozen=True)
class Reply:
    """What a server has answered."""

    status: int
    retry_after_s: float
    """The wait that its `Retry-After` header asks for; 0 without one."""
    content: bytes


class TransientError(Exception):
    """A failure that another attempt may not meet."""

    def __init__(self, problem: str, retry_after_s: float = 0.0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after_s = retry_after_s


class ReplyTimeout(TransientError):
    """No whole answer in time, on a connection that held."""


class ReplyTooLong(Exception):
    """An answer of more bytes than are read."""


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
    """Send one request and read the whole answer.

    Args:
        http: the connections; its own timeouts are off, since a trickle of bytes extends those.
        method: `GET` or `POST`.
        url: where.
        timeout_s: the one deadline.
        largest: bytes of an answer that are read at most.
        body: sent as JSON.
        token: sent as bearer token.

    Raises:
        TransientError: there was no whole answer in time (`ReplyTimeout`), or the connection broke.
        ReplyTooLong: it is longer than `largest`.
        AddressRefused: the connections are to one public server, and this is not it.
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
                    raise ReplyTooLong(f"sent more than {largest} bytes")
    except TimeoutError:
        raise ReplyTimeout(f"no answer within {timeout_s:g} s") from None
    except httpx.RequestError as error:
        raise TransientError(f"{type(error).__name__}: {error}") from None
    return Reply(response.status_code, retry_after_s(response.headers.get("Retry-After")), bytes(content))


def connections(most: int, *, proxies: bool, public: str | None = None) -> httpx.AsyncClient:
    """A pool of at most `most` connections that follows no redirect, so that no token goes anywhere else.

    Args:
        most: connections at once.
        proxies: whether to go through those that the environment names.
        public: address of the one server to connect to, if it may only be at public addresses; then without proxies.

    Raises:
        AddressRefused: `public` is no such address, whatever it resolves to.
    """
    limits = httpx.Limits(max_connections=most)
    return httpx.AsyncClient(
        headers={"Accept-Encoding": "identity"},
        follow_redirects=False,
        trust_env=proxies,
        timeout=None,  # one deadline per request instead, which a trickle of bytes does not extend
        limits=limits,
        transport=None if public is None else PublicTransport(public, limits=limits),
    )


def truncate_for_message(text: str | bytes) -> str:
    """At most `SHOWN_CHARACTERS` printable characters of untrusted text, on one line."""
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
