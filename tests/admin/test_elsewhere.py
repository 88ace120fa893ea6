"""`uniapl admin` outside the service's folder, and with settings that cannot be used: messages, no tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.integration


def run(folder: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("UNIAPL_")}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**own, **settings, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_keys_of_another_folder_are_refused_with_the_remedy_and_nothing_is_created(tmp_path: Path) -> None:
    for command in (("create",), ("list",), ("revoke", "abc"), ("rotate", "abc")):
        found = run(tmp_path, "admin", "keys", *command)
        assert (found.returncode, found.stdout) == (1, "")
        assert found.stderr.startswith(f"error: there is no database {tmp_path}/data/uniapl.db; run the command in")
        assert found.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_keys_of_a_database_without_tables_name_the_command_that_makes_them(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    found = run(tmp_path, "admin", "keys", "create", UNIAPL_DATABASE_URL=f"sqlite:///{tmp_path / 'empty.db'}")
    assert (found.returncode, found.stderr) == (
        1,
        "error: the database has no tables yet; run `uniapl admin db upgrade`\n",
    )


@pytest.mark.parametrize("command", [("admin", "keys", "list"), ("api",), ("celery", "-A", "worker.app", "worker")])
def test_a_setting_that_cannot_be_used_is_a_message(command: tuple[str, ...], tmp_path: Path) -> None:
    found = run(tmp_path, *command, UNIAPL_LEASE_S="abc")
    assert found.returncode == 1
    assert "UNIAPL_LEASE_S: Input should be a valid number" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_misspelt_setting_is_reported(tmp_path: Path) -> None:
    found = run(tmp_path, "admin", "keys", "list", UNIAPL_LEASE="60")
    assert "warning: UNIAPL_LEASE is not a setting and has no effect; rename it to UNIAPL_LEASE_S\n" in found.stderr
