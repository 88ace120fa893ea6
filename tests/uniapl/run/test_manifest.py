"""Published checkpoint folders: complete or absent, wherever the writer dies."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from uniapl.errors import CheckpointError
from uniapl.run import manifest
from uniapl.run.atomic import no_space

pytestmark = pytest.mark.unit

CRASH = """
import os, signal, sys
from pathlib import Path
from uniapl.run import manifest

folder, fatal, calls = Path(sys.argv[1]), int(sys.argv[2]), 0

def counted(real):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call

def write(target):
    with (target / "model").open("wb", buffering=0) as file:
        for _ in range(2):
            counted(file.write)(b"x" * 1000)
    (target / "part").mkdir()
    (target / "part" / "state").write_text("{}")

os.fsync, os.rename, os.mkdir = counted(os.fsync), counted(os.rename), counted(os.mkdir)
manifest.publish(folder, 2, write, {})
"""


def write_files(folder: Path) -> None:
    (folder / "model").write_bytes(b"weights")
    (folder / "part").mkdir()
    (folder / "part" / "state").write_text("{}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with a checkpoint of step 1."""
    manifest.publish(tmp_path / "checkpoints", 1, write_files, {"versions": {"us": "1"}})
    return tmp_path / "checkpoints"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.integration
def test_a_writer_killed_at_any_call_leaves_the_old_state_or_the_new(folder: Path) -> None:
    found, fatal = [], 0
    status = -signal.SIGKILL
    while status == -signal.SIGKILL:
        fatal += 1
        status = subprocess.run(
            [sys.executable, "-c", CRASH, str(folder), str(fatal)], cwd=ROOT, check=False
        ).returncode
        steps = manifest.steps_in(folder)
        assert [manifest.verify(manifest.folder_of(folder, step)) for step in steps] == steps
        found.append(steps)
        if 2 in steps and status != 0:
            break
    # the last call but one is the rename; the sync after it is the first that finds the new state
    assert found == [[1]] * (len(found) - 1) + [[1, 2]]
    assert len(found) == 11  # mkdir x 2, write x 2, sync of 3 paths, manifest and folder, rename, sync of the parent
    manifest.publish(folder, 3, write_files, {})
    assert names(folder) == ["step-00000001", "step-00000002", "step-00000003"]  # what the killed left is gone


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failed_write_leaves_the_old_ones_and_nothing_else(
    folder: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        manifest.publish(folder, 2, write_files, {})
    assert names(folder) == ["step-00000001"]
    assert manifest.verify(folder / "step-00000001") == 1


def test_what_was_published_but_never_reported_can_be_described(folder: Path) -> None:
    saved = manifest.publish(folder, 20, write_files, {})
    assert manifest.read(saved.path) == saved
    assert saved.path == folder / "step-00000020"
    assert saved.bytes == len(b"weights") + len("{}")
    assert saved.manifest_sha256 == hashlib.sha256((saved.path / "manifest.json").read_bytes()).hexdigest()


def test_a_checkpoint_is_not_written_over(folder: Path) -> None:
    before = manifest.read(folder / "step-00000001")
    with pytest.raises(FileExistsError):
        manifest.publish(folder, 1, lambda target: (target / "other").touch(), {})
    assert manifest.read(folder / "step-00000001") == before
    assert names(folder) == ["step-00000001"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": [], "step": 1}', '{"files": {}}', '{"step": 1, "files": 1}']
)
def test_an_invalid_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "step-00000001" / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match="step-00000001 cannot be read"):
        manifest.read(folder / "step-00000001")


@pytest.mark.parametrize("name", ["model", "part/state", "manifest.json"])
@pytest.mark.parametrize("harm", ["alter", "truncate", "remove"])
def test_every_damage_is_detected(folder: Path, name: str, harm: str) -> None:
    path = folder / "step-00000001" / name
    whole = path.read_bytes()
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] + (b"?" if harm == "alter" else b""))
    with pytest.raises(CheckpointError):
        manifest.verify(folder / "step-00000001")


def test_steps_are_listed_in_order_and_nothing_else_is(folder: Path) -> None:
    for name in ("step-00000100", "step-00000020", ".step-00000005.tmp", "step-by-step", "step-00000007.old", "other"):
        (folder / name).mkdir()
    assert manifest.steps_in(folder) == [1, 20, 100]
    assert manifest.steps_in(folder / "nowhere") == []


def test_a_full_disk_is_recognised_in_whatever_it_comes() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert no_space(full) is full
    assert no_space(OSError(errno.EACCES, "denied")) is None
    assert no_space(ExceptionGroup("of a task group", [ValueError("other"), ExceptionGroup("", [full])])) is full
    assert no_space(ExceptionGroup("of a task group", [ValueError("other")])) is None
    foreign = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert no_space(foreign) is foreign
    assert no_space(RuntimeError("Permission denied (os error 13)")) is None
