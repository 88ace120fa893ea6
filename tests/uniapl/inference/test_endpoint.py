"""The file with the address of a managed server."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from uniapl.inference.endpoint import Address, read_address, write_address

pytestmark = pytest.mark.unit

ADDRESS = Address(model="judge", url="http://127.0.0.1:1", token="secret", life=3)


def test_only_the_owner_can_read_the_token(tmp_path: Path) -> None:
    path = tmp_path / "address.json"
    path.write_text("an older one, readable by all")
    write_address(path, ADDRESS)
    assert read_address(path) == ADDRESS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, b"", b'{"model": "judge", "url": "htt', b'{"model": "judge"}', b"[1]"])
def test_a_missing_or_incomplete_file_is_no_address(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "address.json"
    if content is not None:
        path.write_bytes(content)
    assert read_address(path) is None
