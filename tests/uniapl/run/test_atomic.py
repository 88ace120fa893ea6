"""Files and folders appear whole, or leave the old ones as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from uniapl.run import atomic

pytestmark = pytest.mark.unit


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_has_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file"
    for content in (b"old", b"new"):
        atomic.write(path, content, mode=0o600)
        assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(path.parent) == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic.write(tmp_path / "file", b"old")

    def full(_: int) -> None:
        raise OSError("full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        atomic.write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_folder_appears_when_its_block_ends(tmp_path: Path) -> None:
    left = tmp_path / ".new.tmp"
    left.mkdir()
    (left / "of a killed writer").touch()
    with atomic.new_folder(tmp_path / "new") as folder:
        (folder / "file").touch()
        assert not (tmp_path / "new").exists()
    assert names(tmp_path) == ["new"]
    assert names(tmp_path / "new") == ["file"]


def test_a_folder_whose_block_raises_is_removed(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic.new_folder(tmp_path / "new") as folder:
            (folder / "file").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []
