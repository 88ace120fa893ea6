"""The client in a fresh environment, installed by the command that the READMEs show."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.faults  # it asks the package index, and builds two wheels
HEAVY = {"torch", "transformers", "numpy", "fastapi", "sqlalchemy", "celery"}
USE = """
import uniapl, uniapl_client
uniapl_client.Client("http://127.0.0.1:1", api_key="uapl_x").close()
uniapl_client.JobSpec(student="s", dataset_mix=[{"dataset": "ds_1"}])
print(uniapl_client.__version__, *(module.__file__ for module in (uniapl, uniapl_client)), sep="\\n")
"""


def documented(readme: str) -> list[str]:
    """The arguments of the README's command that installs the client."""
    [arguments] = re.findall(r"pip install ([./ ]*/client)\b", (ROOT / readme).read_text())
    return shlex.split(arguments)


def run(folder: Path, *command: str | Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy, since pip builds where the sources are."""
    copy, left_out = tmp_path / "checkout", shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for folder in ("uniapl", "client"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=left_out)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    return copy


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """The programs of an empty environment."""
    venv.create(tmp_path / "fresh", with_pip=True)
    return tmp_path / "fresh" / "bin"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder where none of the sources are."""
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


@pytest.mark.faults_short
def test_the_documented_command_installs_the_client_in_a_fresh_environment(
    checkout: Path, fresh: Path, outside: Path
) -> None:
    assert documented("README.md") == documented("client/README.md")
    run(checkout, fresh / "pip", "install", *documented("README.md"))
    works(outside, fresh)


def test_so_do_wheels_that_were_built_in_another_folder(checkout: Path, fresh: Path, outside: Path) -> None:
    run(outside, fresh / "pip", "wheel", "--no-deps", "--wheel-dir", "dist", checkout, checkout / "client")
    shutil.rmtree(checkout)
    run(outside, fresh / "pip", "install", "--find-links", "dist", "uniapl-client")
    works(outside, fresh)


def works(outside: Path, fresh: Path) -> None:
    """Package and command, with none of the checkout's files."""
    version, *files = run(outside, fresh / "python", "-c", USE).split()
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert all(Path(file).is_relative_to(fresh.parent) for file in files)
    assert "Usage: uniapl" in run(outside, fresh / "uniapl", "--help")
    run(outside, fresh / "pip", "check")
    packages = run(outside, fresh / "pip", "list", "--format", "freeze").lower()
    installed = {line.partition("==")[0] for line in packages.split()}
    assert {"uniapl", "uniapl-client"} <= installed
    assert not installed & HEAVY
