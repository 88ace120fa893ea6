"""Folders in shared memory: where they are, and who removes them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from store.artifacts.local import remove_here
from uniapl.run import shared_memory
from uniapl.run.shared_memory import SharedMemoryFolder, remove_abandoned

pytestmark = pytest.mark.integration

HOLD = """
import sys, time
from pathlib import Path
from uniapl.run.shared_memory import SharedMemoryFolder
folder = SharedMemoryFolder(Path(sys.argv[1]), 1000, Path(sys.argv[2]))
(folder.path / "model").write_text("weights")
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "shm").mkdir()
    return tmp_path / "shm"


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_live_one_is_not(tmp_path: Path, root: Path) -> None:
    link = tmp_path / "sampler"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(link), str(root)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == b"ready\n"
        remove_abandoned(root)
        assert (link / "model").read_text() == "weights"
        assert link.resolve().parent == root
        os.kill(holder.pid, signal.SIGKILL)
    remove_abandoned(root)
    assert list(root.iterdir()) == []
    remove_here(link)  # as the worker does at the end of an attempt
    assert not link.is_symlink()


def test_without_room_it_is_an_ordinary_folder_and_the_reason_is_known(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(root).free
    full = SharedMemoryFolder(tmp_path / "full", free * 2, root)
    assert full.path.is_dir()
    assert not full.path.is_symlink()
    assert "GB free, and the weights need" in str(full.obstacle)
    missing = SharedMemoryFolder(tmp_path / "missing", 1, tmp_path / "nowhere")
    assert missing.obstacle == f"{tmp_path / 'nowhere'} does not exist"
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda path: usage(10**18))
    tight = SharedMemoryFolder(tmp_path / "tight", 10**15, root)
    assert str(tight.obstacle).startswith("the machine's memory has ")
    assert list(root.iterdir()) == []


def test_removal_follows_no_link(tmp_path: Path, root: Path) -> None:
    (root / "kept").mkdir()
    (tmp_path / "link").symlink_to(root / "kept")
    remove_here(tmp_path / "link")
    assert not (tmp_path / "link").is_symlink()
    assert (root / "kept").is_dir()
