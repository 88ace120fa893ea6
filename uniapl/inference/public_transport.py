"""HTTP transport to servers that users name: it connects to public addresses only, never to the service's own network.

`check` gives an early answer, when a spec is accepted; `PublicTransport` decides at each request: it resolves the host,
refuses unless every address is public, and connects to one of those addresses, so that a name cannot change between
check and connection (DNS rebinding). Any port is allowed: the server must prove its name by a TLS certificate, and
internal services have no public address.
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
"""The last label of a host that resolvers read as an IPv4 address, in any notation."""
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
"""Networks that Python, depending on its version, counts as global."""
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressRefused(Exception):
    """An address that the service does not connect to, with the reason."""


def check(url: str) -> None:
    """Check that the service would connect to `url` now; blocks while the resolver does.

    Raises:
        AddressRefused: it would not.
    """
    host, port = _origin(url)
    try:
        resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressRefused(f"the host {host} does not resolve; correct it, or try again") from None
    _public_addresses(host, resolved)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is on the public internet.

    An IPv6 address that represents an IPv4 address (mapped, or by NAT64) is public if that address is.
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
    """Transport of a client to one server, without proxies.

    TLS verifies the server's name. A server with another name, such as the target of a redirect, needs another
    transport.
    """

    def __init__(self, url: str, *, limits: httpx.Limits) -> None:
        """
        Args:
            url: URL of the server.
            limits: limits of the connection pool.

        Raises:
            AddressRefused: it is not a URL to connect to, whatever it resolves to.
        """
        self._origin = _origin(url)
        self._inner = httpx.AsyncHTTPTransport(verify=httpx.create_ssl_context(), trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            AddressRefused: the request is for another server, or an address of the host is not public.
            httpx.TransportError: the connection failed.
        """
        if _origin(str(request.url)) != self._origin:
            raise AddressRefused("the transport belongs to another server")
        host, port = self._origin
        try:
            resolved = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise httpx.ConnectError(f"the host {host} does not resolve", request=request) from None
        failed: httpx.ConnectError | None = None
        for address in _public_addresses(host, resolved):
            try:
                return await self._inner.handle_async_request(_pinned(request, host, address))
            except httpx.ConnectError as error:
                failed = error
        raise failed or httpx.ConnectError(f"the host {host} does not resolve", request=request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _origin(url: str) -> tuple[str, int]:
    """Host and port, by the parser that requests are made with."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise AddressRefused(f"invalid URL: {error}") from None
    host = parsed.raw_host.decode()
    if parsed.scheme != "https" or not host:
        raise AddressRefused("the URL must begin with https:// and a host")
    if parsed.userinfo:
        raise AddressRefused("the URL must not contain a user or password")
    if not _HOST.fullmatch(host):
        raise AddressRefused(f"invalid URL: {host} is not a host name")
    if ":" not in host and _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            IPv4Address(host)
        except ValueError:
            raise AddressRefused("write an IPv4 address as four decimal numbers") from None
    return host, parsed.port or 443


def _public_addresses(host: str, resolved: Iterable[tuple[Any, ...]]) -> list[str]:
    """The resolved addresses without duplicates, all of which must be public."""
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in resolved))
    if not all(is_public(ip_address(address)) for address in addresses):
        raise AddressRefused(f"{host} has an address that is not public")
    return addresses


def _pinned(request: httpx.Request, host: str, address: str) -> httpx.Request:
    """The same request to an IP address; the `Host` header and TLS still name the host."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )
