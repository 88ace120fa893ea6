"""The stages of the API image, run in a folder; those of the worker differ in their extras only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy.conftest import stages

pytestmark = pytest.mark.integration

LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Contents of /app in the image."""
    if "COMPOSE_CHECK" not in os.environ:
        reason = "not checked: that the API's image can be built (`make compose-check` does; it installs packages)"
        pytest.skip(reason)
    app = tmp_path_factory.mktemp("image")
    for stage in ("recipe", "api-environment", "worker-code", "api-code"):
        for kind, rest in stages()[stage]:
            if kind == "COPY" and "--from=" not in rest:
                *sources, target = rest.split()
                for source in sources:
                    copy(ROOT / source, app / target, into=target.endswith("/"))
            elif kind == "RUN":
                shell(app, rest)
    return app


def shell(app: Path, command: str) -> None:
    """Run a command of the Dockerfile in the folder in place of /app."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    python = Path(getattr(sys, "_base_executable", sys.executable))
    environment |= {"PYTHON": str(python), "PATH": f"{python.parent}:{environment['PATH']}"}
    subprocess.run(["sh", "-ec", command.replace("/app", str(app))], cwd=app, check=True, env=environment)


def copy(source: Path, target: Path, *, into: bool) -> None:
    """As COPY does: a folder's contents, or a file."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=LEFT_OUT, dirs_exist_ok=True)
    else:
        place = target / source.name if into else target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, place)


def run(image: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{image}/.venv/bin:/usr/bin:/bin", "PYTHONPATH": str(image), **settings}
    return subprocess.run(command, cwd=image, capture_output=True, text=True, check=False, env=environment)


def test_the_image_has_what_the_api_imports_and_no_torch(image: Path) -> None:
    done = run(image, "python", "-c", "import api.__main__, api.main, admin.__main__, store.artifacts.s3")
    assert done.returncode == 0, done.stderr
    assert "No module named 'torch'" in run(image, "python", "-c", "import torch").stderr
    traced = run(image, "python", "-c", "import opentelemetry.exporter.otlp.proto.http.trace_exporter")
    assert traced.returncode == 0, traced.stderr


def test_the_image_runs_its_commands(image: Path, tmp_path: Path) -> None:
    data = {"UNIAPL_DATA_DIR": str(tmp_path)}
    migrated = run(image, "python", "-m", "admin", "db", "upgrade", **data)
    assert (migrated.returncode, migrated.stderr) == (0, "the database is up to date\n")
    made = run(image, "uniapl", "admin", "keys", "create", **data)
    assert made.stdout.startswith("uapl_"), made.stderr
    assert run(image, "python", "docker/healthy.py", "http://127.0.0.1:1/readyz").returncode == 1
