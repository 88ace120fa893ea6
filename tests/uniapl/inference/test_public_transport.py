"""Connections to servers that users name: public addresses only, the checked address, and the server's name in TLS.

Names are resolved by a stub, since no test may own a name; the servers and their TLS are real.
"""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.uniapl.teachers.openai_server import Reply, Teacher, completion, fill, rows, spec
from uniapl.errors import SpecError, TeacherError
from uniapl.inference import public_transport
from uniapl.inference.public_transport import AddressRefused, PublicTransport, check, is_public
from uniapl.run.credentials import Credentials

pytestmark = pytest.mark.integration

NAME = "teacher.example"
PUBLIC = "93.184.216.34"
Resolver = Callable[..., None]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Sets the result of each resolution of the name, a list of addresses; the last list repeats."""
    real = socket.getaddrinfo

    def answer(*looks: list[str]) -> None:
        waiting = list(looks)

        def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
            if host != NAME:
                return real(host, port, *args, **options)
            found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if not found:
                raise socket.gaierror(socket.EAI_NONAME, "unknown")
            kinds = {4: socket.AF_INET, 6: socket.AF_INET6}
            return [(kinds[ip_address(a).version], socket.SOCK_STREAM, 6, "", (a, port)) for a in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return answer


NOT_PUBLIC = {
    "loopback": "127.0.0.1",
    "loopback, elsewhere": "127.8.8.8",
    "private 10": "10.0.0.1",
    "private 172": "172.16.0.1",
    "private 192": "192.168.1.1",
    "link-local, with the metadata service of clouds": "169.254.169.254",
    "Azure's platform": "168.63.129.16",
    "Alibaba's metadata, carrier-grade NAT": "100.100.100.200",
    "this network": "0.0.0.0",
    "multicast": "224.0.0.1",
    "multicast, organisation": "239.1.2.3",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "benchmarks": "198.18.0.1",
    "documentation": "203.0.113.7",
    "relays to 6to4": "192.88.99.1",
    "IPv6 loopback": "::1",
    "IPv6 unspecified": "::",
    "IPv4-compatible": "::7f00:1",
    "mapped private": "::ffff:10.0.0.1",
    "mapped link-local": "::ffff:169.254.169.254",
    "NAT64 of link-local": "64:ff9b::a9fe:a9fe",
    "NAT64 of loopback": "64:ff9b::7f00:1",
    "NAT64 of this site": "64:ff9b:1::808:808",
    "6to4 of private": "2002:0a00:0001::1",
    "6to4 of public": "2002:0808:0808::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "IPv6 link-local": "fe80::1",
    "IPv6 link-local with a zone": "fe80::1%1",
    "site-local": "fec0::1",
    "unique local, with the metadata service of AWS": "fd00:ec2::254",
    "IPv6 multicast": "ff02::1",
    "IPv6 documentation": "2001:db8::1",
    "newer IPv6 documentation": "3fff::1",
    "IPv6 unassigned": "4000::1",
}


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC.keys())
def test_a_name_with_such_an_address_is_refused_even_beside_a_public_one(resolver: Resolver, address: str) -> None:
    assert not is_public(ip_address(address))
    for found in ([address], [PUBLIC, address]):
        resolver(found)
        with pytest.raises(AddressRefused, match="not public"):
            check(f"https://{NAME}/v1")


@pytest.mark.parametrize(
    "address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "1.1.1.1"]
)
def test_public_addresses_are_accepted(resolver: Resolver, address: str) -> None:
    resolver([address])
    check(f"https://{NAME}:8443/v1")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://127.0.0.1/v1", "not public"),
        ("https://[::1]/v1", "not public"),
        ("https://[::ffff:10.0.0.1]/v1", "not public"),
        ("https://[64:ff9b::a9fe:a9fe]/v1", "not public"),
        ("https://localhost/v1", "not public"),
        ("https://localhost./v1", "not public|does not resolve"),
        ("https://2130706433/v1", "four decimal numbers"),
        ("https://134744072/v1", "four decimal numbers"),  # 8.8.8.8: public, but not in decimal notation
        ("https://0x7f000001/v1", "four decimal numbers"),
        ("https://0x7F.1/v1", "four decimal numbers"),
        ("https://127.1/v1", "four decimal numbers"),
        ("https://017700000001/v1", "four decimal numbers"),
        ("https://0177.0.0.1/v1", "invalid URL"),
        ("https://127.0.0.1./v1", "four decimal numbers|invalid URL"),
        ("https://１２７.０.０.１/v1", "four decimal numbers|invalid URL|not public"),
        (f"http://{NAME}/v1", "must begin with https"),
        (f"ftp://{NAME}/v1", "must begin with https"),
        ("https:///v1", "must begin with https|invalid URL"),
        (f"https://{PUBLIC}@{NAME}/v1", "not contain a user"),
        (f"https://user:word@{NAME}/v1", "not contain a user"),
        (f"https://{NAME}\\.public.example/v1", "invalid URL"),
        (f"https://{NAME}:port/v1", "invalid URL"),
        ("https://" + "a" * 70 + "/v1", "invalid URL|does not resolve"),
    ],
)
def test_addresses_that_are_refused_without_resolving(resolver: Resolver, url: str, message: str) -> None:
    resolver([PUBLIC])
    with pytest.raises(AddressRefused, match=message):
        check(url)


def test_a_name_that_does_not_resolve_is_an_error(resolver: Resolver) -> None:
    resolver([])
    with pytest.raises(AddressRefused, match=rf"the host {NAME} does not resolve"):
        check(f"https://{NAME}/v1")


# Connections


def _certificate(folder: Path) -> Path:
    """A self-signed certificate of the name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = folder / "tls.pem"
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return path


class TlsTeacher(Teacher):
    """A server at a loopback address that the test declares public."""

    def __init__(self, certificate: Path, address: str, port: int) -> None:
        super().__init__(address, port)
        self.names: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)


@pytest.fixture
def servers(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[TlsTeacher, TlsTeacher]]:
    """A server at 127.0.0.2, declared public, and one at 127.0.0.1, which is not, at the same port."""
    certificate = _certificate(tmp_path_factory.mktemp("tls"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    really = public_transport.is_public
    monkeypatch.setattr(public_transport, "is_public", lambda address: str(address) == "127.0.0.2" or really(address))
    public = TlsTeacher(certificate, "127.0.0.2", 0)
    inner = TlsTeacher(certificate, "127.0.0.1", public.server_port)
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in (public, inner)]
    for thread in threads:
        thread.start()
    yield public, inner
    for server in (public, inner):
        server.over.set()
        server.shutdown()
        server.server_close()
    for thread in threads:
        thread.join()


Servers = tuple[TlsTeacher, TlsTeacher]
GUARDED = Credentials({"big": "sk-0123456789"}, public_only=True)


def guarded(server: TlsTeacher, **teacher: Any) -> Any:
    """A job whose teacher is behind the name."""
    address = f"https://{NAME}:{server.server_port}/v1"
    given = {"base_url": address, "api_key_env": None, "api_key_secret": "big", "max_retries": 1, **teacher}
    return spec(server, teacher=given)


def test_requests_to_a_public_server_carry_its_name_to_the_checked_address(
    servers: Servers, resolver: Resolver, tmp_path: Path
) -> None:
    public, inner = servers
    resolver(["127.0.0.2"])
    assert fill(guarded(public), tmp_path, rows("a", "b"), credentials=GUARDED) == [["Re: a", "Re: b"]]
    assert set(public.names) == {NAME}
    assert {h["Host"] for h in public.headers} == {f"{NAME}:{public.server_port}"}
    assert {h["Authorization"] for h in public.headers} == {"Bearer sk-0123456789"}
    assert inner.names == []


def test_a_name_that_points_inside_is_not_connected_to(servers: Servers, resolver: Resolver, tmp_path: Path) -> None:
    public, inner = servers
    resolver(["127.0.0.2"], ["127.0.0.1"])
    check(f"https://{NAME}:{public.server_port}/v1")  # as at POST; then the name is moved
    with pytest.raises(TeacherError, match="has an address that is not public") as caught:
        fill(guarded(public), tmp_path, rows("a"), credentials=GUARDED)
    assert caught.value.param == "teacher.base_url"
    assert public.names == inner.names == []


def test_a_name_that_changes_between_check_and_connection_is_refused(
    servers: Servers, resolver: Resolver, tmp_path: Path
) -> None:
    public, inner = servers
    resolver(["127.0.0.2"], ["127.0.0.1"])
    fill(guarded(public), tmp_path, rows("a"), credentials=GUARDED)
    assert public.questions() == ["a"]
    assert inner.names == []


def test_a_certificate_of_another_name_is_not_accepted(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    public, _ = servers
    url = f"https://other.example:{public.server_port}/v1"
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: real("127.0.0.2", *a, **k))
    with pytest.raises(httpx.ConnectError, match=r"(?i)hostname mismatch.*other\.example"):
        asyncio.run(_get(url, url))


def test_a_redirect_is_not_followed_inside_even_by_a_client_that_follows(servers: Servers, resolver: Resolver) -> None:
    public, inner = servers
    resolver(["127.0.0.2"])
    url = f"https://{NAME}:{public.server_port}/v1"
    public.reply = lambda *_: Reply(307, headers={"Location": f"https://127.0.0.1:{inner.server_port}/v1"})
    with pytest.raises(AddressRefused, match="another server"):
        asyncio.run(_get(url, url))
    assert len(public.asked) == 1
    assert inner.names == []


def test_a_redirecting_teacher_fails_the_job(servers: Servers, resolver: Resolver, tmp_path: Path) -> None:
    public, inner = servers
    resolver(["127.0.0.2"])
    public.reply = lambda *_: Reply(302, headers={"Location": f"https://{NAME}:{inner.server_port}/elsewhere"})
    with pytest.raises(TeacherError, match="status 302"):
        fill(guarded(public), tmp_path, rows("a"), credentials=GUARDED)
    assert (len(public.asked), inner.names) == (1, [])


def test_proxies_of_the_environment_are_not_used(
    servers: Servers, resolver: Resolver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, inner = servers
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{inner.server_port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    resolver(["127.0.0.2"])
    assert fill(guarded(public), tmp_path, rows("a"), credentials=GUARDED) == [["Re: a"]]


def test_the_next_address_is_tried_when_one_does_not_answer(
    servers: Servers, resolver: Resolver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, _ = servers
    monkeypatch.setattr(public_transport, "is_public", lambda _: True)
    resolver(["127.0.0.3", "127.0.0.2"])  # no server listens at the first
    assert fill(guarded(public), tmp_path, rows("a"), credentials=GUARDED) == [["Re: a"]]


def test_a_name_that_is_unknown_for_a_moment_is_tried_again(
    servers: Servers, resolver: Resolver, tmp_path: Path
) -> None:
    public, _ = servers
    public.reply = lambda *_: completion("yes")
    resolver([], ["127.0.0.2"])
    assert fill(guarded(public), tmp_path, rows("a"), credentials=GUARDED) == [["yes"]]


def test_plain_http_is_refused_where_only_public_servers_are_allowed(tmp_path: Path) -> None:
    given = {"base_url": "http://93.184.216.34/v1", "type": "openai", "model": "m"}
    with pytest.raises(SpecError, match="must begin with https") as caught:
        fill(spec().model_copy(update={"teacher": spec_teacher(given)}), tmp_path, rows("a"), credentials=GUARDED)
    assert caught.value.param == "teacher.base_url"


def test_a_missing_secret_is_named(servers: Servers, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no secret 'other'") as caught:
        fill(guarded(servers[0], api_key_secret="other"), tmp_path, rows("a"), credentials=GUARDED)
    assert caught.value.param == "teacher.api_key_secret"


def spec_teacher(given: dict[str, Any]) -> Any:
    return (
        spec(teacher=None)
        .model_validate({"student": "tiny", "dataset_mix": [{"dataset": "ds_1"}], "teacher": given})
        .teacher
    )


async def _get(url: str, server: str) -> httpx.Response:
    transport = PublicTransport(server, limits=httpx.Limits())
    async with httpx.AsyncClient(transport=transport, follow_redirects=True, trust_env=False) as client:
        return await client.post(url, json={"messages": [{"content": "hi"}]})
