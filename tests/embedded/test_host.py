"""Where the embedded service listens: beyond loopback only with keys."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.service import EmbeddedService, free_port, in_address, is_loopback
from tests.conftest import ROOT

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_without_keys_it_does_not_listen_beyond_loopback(tmp_path: Path, host: str) -> None:
    data = tmp_path / "data"
    service = EmbeddedService(data, host=host, port=8000, environment={"UNIAPL_AUTH": "false"})
    with pytest.raises(RuntimeError, match=rf"listening on {host}.* remove UNIAPL_AUTH=false, or listen on"):
        service.start()
    assert not data.exists()


@pytest.mark.parametrize("off", ["false", "0", "no"])
def test_the_command_says_so_and_ends(tmp_path: Path, off: str) -> None:
    command = [sys.executable, "-m", "embedded", "--data-dir", str(tmp_path / "data"), "--host", "0.0.0.0"]
    environment = {**os.environ, "UNIAPL_AUTH": off, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: listening on 0.0.0.0, which other machines can reach, requires API keys")
    assert "Traceback" not in done.stderr


def test_an_address_that_is_not_ours_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "embedded", "--data-dir", str(tmp_path / "data"), "--host", "192.0.2.7"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: cannot listen on 192.0.2.7")


def test_which_hosts_are_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost")] == [True] * 4
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.5", "fe80::1"))
    with pytest.raises(RuntimeError, match="no address"):
        is_loopback("no-such-host.invalid")


def test_hosts_as_they_stand_in_addresses() -> None:
    hosts = {"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]", "box": "box"}
    assert {host: in_address(host) for host in hosts} == hosts


def test_the_next_free_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port("127.0.0.1", port) <= port + 99
        assert port < free_port("0.0.0.0", port) <= port + 99
        assert free_port("127.0.0.2", port) == port
