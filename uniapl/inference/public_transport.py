"""Requests to servers that users name: they reach public addresses only, never the network that the service stands in.

`check` tells early, when something is accepted; `PublicTransport` decides, when it is used: it resolves the name
itself, refuses unless every address is public, and connects to one of those very addresses, so that a name cannot point
elsewhere between the look and the connection. Any port is allowed: what is behind it must first prove by its
certificate that it is the server named, and the services worth attacking have no public address.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import httpx

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
"""How the last part of a host ends that resolvers read as an IPv4 address, in whatever notation."""
_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "168.63.129.16/32",  # Azure's platform service
            "192.88.99.0/24",  # relays to 6to4
            "2001::/23",  # protocol assignments, Teredo among them
            "2002::/16",  # 6to4, which carries an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
"""What Python, depending on its version, takes for global."""
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressRefused(Exception):
    """The service does not connect there; the message says why."""


def check(url: str) -> None:
    """Whether the service would connect there now. It may block, for as long as the resolver takes.

    Raises:
        AddressRefused: it would not.
    """
    host, port = _place(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressRefused(f"no address is found for {host}; correct it, or try again") from None
    _public_addresses(host, found)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is anybody's on the internet.

    An IPv6 address that stands for an IPv4 one (mapped, or behind NAT64) is what that one is.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _UNICAST:
            return False
    known = any(address.version == network.version and address in network for network in _NOT_PUBLIC)
    return address.is_global and not (address.is_multicast or address.is_reserved or known)


class PublicTransport(httpx.AsyncBaseTransport):
    """Carries the requests of a client to one server. Proxies of the environment are not used.

    TLS asks for, and verifies, the server's name. A server behind another name, such as one that a redirect points to,
    needs a transport of its own.
    """

    def __init__(self, url: str, *, limits: httpx.Limits) -> None:
        """
        Args:
            url: where the server is.
            limits: of connections.

        Raises:
            AddressRefused: it is not an address to connect to, whatever it resolves to.
        """
        self._place = _place(url)
        self._inner = httpx.AsyncHTTPTransport(verify=httpx.create_ssl_context(), trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            AddressRefused: it is for another server, or the name has an address that is not public.
            httpx.TransportError: the connection failed.
        """
        if _place(str(request.url)) != self._place:
            raise AddressRefused("this connection is for another server")
        host, port = self._place
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise httpx.ConnectError(f"no address is found for {host}", request=request) from None
        failed: httpx.ConnectError | None = None
        for address in _public_addresses(host, found):
            try:
                return await self._inner.handle_async_request(_pinned(request, host, address))
            except httpx.ConnectError as error:
                failed = error
        raise failed or httpx.ConnectError(f"no address is found for {host}", request=request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _place(url: str) -> tuple[str, int]:
    """Host and port, as the same parser reads them that the request is made with."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise AddressRefused(f"it is not an address: {error}") from None
    host = parsed.raw_host.decode()
    if parsed.scheme != "https" or not host:
        raise AddressRefused("it must begin with https:// and a host")
    if parsed.userinfo:
        raise AddressRefused("it must hold no user or password")
    if not _HOST.fullmatch(host):
        raise AddressRefused(f"it is not an address: no host is called {host}")
    if ":" not in host and _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            IPv4Address(host)
        except ValueError:
            raise AddressRefused("write an IPv4 address as four decimal numbers") from None
    return host, parsed.port or 443


def _public_addresses(host: str, found: Iterable[tuple[Any, ...]]) -> list[str]:
    """What a resolver found, without repetition; one address that is not public spoils all."""
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not all(is_public(ip_address(address)) for address in addresses):
        raise AddressRefused(f"{host} is not, or not only, at public addresses")
    return addresses


def _pinned(request: httpx.Request, host: str, address: str) -> httpx.Request:
    """The same request to an address; its `Host` header and TLS still name the host."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )
