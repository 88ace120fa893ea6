"""Request bodies on real connections: authentication before reading, and time limits."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from benchmarks.server import Api
from store.access import api_keys, keyring
from store.db import make_engine, unit_of_work
from store.migrate import upgrade
from store.settings import Settings
from tests.api.conftest import ROW
from tests.api.server import Server

pytestmark = pytest.mark.integration

MB = 1 << 20
WAIT_S = 1.5
SOON_S = 15.0
"""Far below the default wait of 30 s, and enough for a busy machine."""
LINE = json.dumps(ROW).encode() + b"\n"


class Connection:
    """One request on a socket, sent in pieces."""

    def __init__(self, port: int, method: str, path: str, *headers: str, length: int = MB, end: str = "\r\n") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SOON_S + WAIT_S)
        head = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {length}", *headers]
        self.began = time.monotonic()
        self.socket.sendall(("\r\n".join([*head, ""]) + end).encode())

    def send(self, data: bytes) -> None:
        """Send a part of the body, or as much of it as the service takes."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return

    def answer(self) -> tuple[int, str]:
        """Status and code of an error, after which the service has closed the connection."""
        received = b""
        try:
            while piece := self.socket.recv(65536):
                received += piece
        except ConnectionResetError:  # it closed with bytes unread
            pass
        head, _, body = received.partition(b"\r\n\r\n")
        assert b"content-type: application/problem+json" in head
        assert b"connection: close" in head
        return int(head.split()[1]), str(json.loads(body)["error"]["code"])

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("bodies"), requests_per_s=10_000)
    upgrade(settings)
    with Server(settings) as server:
        yield server


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that waits for a short time only."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("hasty"), request_wait_s=WAIT_S)
    upgrade(settings)
    with Server(settings) as server:
        yield server


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def key_of(server: Server) -> str:
    return f"authorization: Bearer {server.key}"


def taking_bodies(server: Server) -> list[tuple[str, str]]:
    """Method and path of every route that may read a body."""
    paths = server.app.openapi()["paths"]
    return [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, operations in paths.items()
        for method in operations
        if method in ("post", "put", "patch")
    ]


def bad_keys(server: Server) -> dict[str, str]:
    settings: Settings = server.app.state.service.settings
    with unit_of_work(make_engine(settings.database)) as session:
        secret = keyring.load(settings)
        _, expired = api_keys.create(session, secret, tenant="default", name="expired", expires_in_s=-1)
        gone, revoked = api_keys.create(session, secret, tenant="default", name="revoked")
        api_keys.revoke(session, gone.id)
    return {"garbage": "uapl_x", "unknown": f"uapl_{16 * '0'}_{43 * 'x'}", "expired": expired, "revoked": revoked}


def test_without_a_valid_key_no_route_waits_for_a_body(server: Server) -> None:
    routes = taking_bodies(server)
    assert len(routes) >= 15
    headers = {"none": "x-nothing: 1"} | {
        name: f"authorization: Bearer {key}" for name, key in bad_keys(server).items()
    }
    for method, path in routes:
        for name, header in headers.items():
            connection = Connection(port_of(server), method, path, header, "content-type: application/json")
            connection.send(b'{"student": ')
            assert connection.answer() == (401, "not_authenticated"), (method, path, name)
            assert time.monotonic() - connection.began < SOON_S
            connection.close()


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/nowhere", (404, "route_not_found")),
        ("POST", "/healthz", (405, "method_not_allowed")),
        ("PUT", "/readyz", (405, "method_not_allowed")),
        ("POST", "/metrics", (405, "method_not_allowed")),
        ("GET", "/jobs", (401, "not_authenticated")),
        ("DELETE", "/datasets/ds_1", (401, "not_authenticated")),
    ],
)
def test_where_no_body_is_taken_none_is_awaited(
    server: Server, method: str, path: str, expected: tuple[int, str]
) -> None:
    connection = Connection(port_of(server), method, path)
    assert connection.answer() == expected
    connection.close()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A process of its own, which waits for a short time only."""
    api = Api(tmp_path_factory.mktemp("api"), {"UNIAPL_REQUEST_WAIT_S": str(2 * WAIT_S)})
    assert api.http.post("/jobs", json={}).status_code == 422
    yield api
    api.close()


def growth(api: Api, attack: Callable[[], Connection], times: int) -> int:
    """Bytes by which the process grows while `times` connections are open."""
    process = psutil.Process(api.process.pid)
    opened: list[Connection] = []
    before = process.memory_info().rss
    try:
        for _ in range(times):
            opened.append(attack())
        time.sleep(1)  # what has been sent is read, if it is read at all
        grown: int = process.memory_info().rss - before
    finally:
        for connection in opened:
            connection.close()
    print(f"{times} connections cost {grown / MB:.1f} MiB")
    return grown


def test_bodies_without_a_key_cost_no_memory(api: Api) -> None:
    def all_but_the_last_byte() -> Connection:
        connection = Connection(api.port, "POST", "/jobs", "content-type: application/json")
        connection.send(bytes(MB - 1))
        return connection

    assert growth(api, all_but_the_last_byte, 128) < 24 * MB


def test_heads_that_never_end_cost_no_memory(api: Api) -> None:
    def endless() -> Connection:
        connection = Connection(api.port, "GET", "/jobs", end="")
        connection.send(b"x-long: " + bytes([65]) * 4 * MB)
        return connection

    assert growth(api, endless, 16) < 24 * MB


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /jobs HTT", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /jobs HTTP/1.1\r\na: b"],
    ids=["nothing", "half", "second"],
)
def test_a_head_that_does_not_come_in_time_ends_the_connection(api: Api, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", api.port), timeout=SOON_S) as connection:
        connection.sendall(sent)
        began, received = time.monotonic(), b""
        while piece := connection.recv(65536):
            received += piece
        assert WAIT_S < time.monotonic() - began < SOON_S
        assert received.startswith(b"HTTP/1.1 200") == sent.startswith(b"GET /healthz")


def one_answer(connection: socket.socket) -> bytes:
    """The answer to a request for `/healthz`, on a connection that stays open."""
    received = b""
    while not received.endswith(b'{"status":"ok"}'):
        piece = connection.recv(65536)
        assert piece, f"closed after {received!r}"
        received += piece
    return received


def test_requests_one_after_another_are_not_cut_short_by_that(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", api.port), timeout=SOON_S) as connection:
        for _ in range(4):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert one_answer(connection).startswith(b"HTTP/1.1 200")
            time.sleep(0.8 * WAIT_S)


@pytest.mark.parametrize("after", [b"\r\n", b""])
def test_a_connection_that_falls_silent_after_its_answer_is_closed(api: Api, after: bytes) -> None:
    with socket.create_connection(("127.0.0.1", api.port), timeout=SOON_S) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        one_answer(connection)
        connection.sendall(after)
        assert connection.recv(1) == b""


@pytest.mark.parametrize("path", ["/datasets", "/v1/files"])
def test_silent_uploads_end_and_make_room(hasty: Server, path: str) -> None:
    form = 'content-type: multipart/form-data; boundary="b"'
    silent = [Connection(port_of(hasty), "POST", path, key_of(hasty), form) for _ in range(4)]
    opening = b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\n' if path == "/v1/files" else b""
    for connection in silent:
        connection.send(opening + LINE + LINE[:10])
    time.sleep(WAIT_S / 4)
    headers = {"authorization": f"Bearer {hasty.key}"}
    refused = httpx.post(f"{hasty.url}/datasets", content=LINE, headers=headers, trust_env=False)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "limit_reached")
    for connection in silent:
        assert connection.answer() == (408, "body_too_slow")
        assert WAIT_S <= time.monotonic() - connection.began < SOON_S
        connection.close()
    accepted = httpx.post(f"{hasty.url}/datasets", content=LINE, headers=headers, trust_env=False)
    assert accepted.status_code == 201
    folder = hasty.app.state.service.settings.data_dir / "datasets"
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_of_a_resumable_upload_that_falls_silent_what_came_is_kept(hasty: Server) -> None:
    headers = {"authorization": f"Bearer {hasty.key}"}
    with httpx.Client(base_url=hasty.url, headers=headers, trust_env=False) as http:
        upload = f"/uploads/{http.post('/uploads', json={'bytes': len(LINE)}).json()['id']}"
        silent = Connection(port_of(hasty), "PATCH", upload, key_of(hasty), "upload-offset: 0", length=len(LINE))
        silent.send(LINE[:20])
        assert silent.answer() == (408, "body_too_slow")
        silent.close()
        assert http.get(upload).json()["offset"] == 20
        assert http.patch(upload, headers={"upload-offset": "20"}, content=LINE[20:]).status_code == 200
        assert http.post(f"{upload}/complete").json()["rows"] == 1


def test_an_upload_may_be_slow_as_long_as_it_progresses(hasty: Server) -> None:
    lines = 6
    connection = Connection(port_of(hasty), "POST", "/datasets", key_of(hasty), length=lines * len(LINE))
    for _ in range(lines):
        time.sleep(WAIT_S * 0.25)
        connection.send(LINE)
    assert connection.socket.recv(12) == b"HTTP/1.1 201"
    connection.close()


@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs"), ("POST", "/datasets"), ("PUT", "/secrets/big")])
def test_a_byte_now_and_then_does_not_keep_a_request_alive(hasty: Server, method: str, path: str) -> None:
    connection = Connection(port_of(hasty), method, path, key_of(hasty), "content-type: application/json")
    connection.socket.settimeout(WAIT_S * 0.4)
    started = b""
    while time.monotonic() - connection.began < SOON_S:
        connection.send(b" ")
        try:
            started = connection.socket.recv(12, socket.MSG_PEEK)
        except TimeoutError:
            continue
        break
    assert started == b"HTTP/1.1 408"
    assert connection.answer() == (408, "body_too_slow")
    connection.close()


def test_a_body_that_breaks_off_is_not_taken_for_a_whole_one(server: Server) -> None:
    """What has come is valid in itself."""
    connection = Connection(port_of(server), "PUT", "/secrets/cut", key_of(server), "content-type: application/json")
    connection.send(b'{"value": "sk-12345678"}')
    time.sleep(0.2)
    connection.close()
    headers = {"authorization": f"Bearer {server.key}"}
    time.sleep(0.5)
    assert httpx.get(f"{server.url}/secrets", headers=headers, trust_env=False).json()["data"] == []
