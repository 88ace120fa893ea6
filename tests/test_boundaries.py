"""Who may import whom, seen from a fresh interpreter: import-linter reads the code, this looks at what really loads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.integration


def loaded_by(module: str) -> set[str]:
    """Top-level packages in `sys.modules` after a bare import."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("uniapl", {"torch", "pydantic"}),
        ("uniapl.spec.job", {"torch", "transformers", "numpy", "httpx", "sqlalchemy", "fastapi", "celery"}),
        ("uniapl.run.manifest", {"torch", "transformers", "safetensors", "numpy"}),
        ("uniapl.run.gpus", {"torch", "pynvml"}),
        ("uniapl.estimate.plan", {"torch", "transformers", "peft", "sqlalchemy", "fastapi", "store", "api", "worker"}),
        ("uniapl_client", {"torch", "transformers", "sqlalchemy", "fastapi", "celery", "store", "api", "worker"}),
        ("uniapl.tracing", {"opentelemetry", "torch"}),
        ("api.main", {"torch", "transformers", "worker", "obstore"}),
        ("worker.app", {"torch", "transformers", "fastapi", "api", "obstore"}),
        ("uniapl.training.setup", {"sqlalchemy", "fastapi", "celery", "store", "api", "worker", "uniapl_client"}),
    ],
)
def test_an_import_does_not_drag_in(module: str, forbidden: set[str]) -> None:
    assert loaded_by(module) & forbidden == set()


def own_files_of(module: str) -> list[Path]:
    """Source files of this repository that a bare import runs."""
    code = f"import sys, {module}; print(*(str(getattr(part, '__file__', '')) for part in list(sys.modules.values())))"
    command = [sys.executable, "-c", code]
    files = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    return [Path(file) for file in files if file.startswith(str(ROOT)) and "site-packages" not in file]


def imported(nodes: list[ast.stmt]) -> Iterator[str]:
    """Top-level packages that statements import when a module is loaded; not below `if TYPE_CHECKING`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Try):
            yield from imported(node.body)


def plain(requirement: str) -> str:
    """The name of a requirement or distribution as indexes compare it."""
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("module", ["api.main", "uniapl.data.preview", "admin.__main__", "store.migrate"])
def test_the_api_imports_only_what_its_image_installs(module: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {plain(line) for line in project["dependencies"] + project["optional-dependencies"]["server"]}
    theirs = {plain(line) for name in declared for line in requires(name) or [] if "extra ==" not in line}
    installed = packages_distributions()
    found = {name for file in own_files_of(module) for name in imported(ast.parse(file.read_text()).body)}
    foreign = {name: {plain(one) for one in installed[name]} for name in found if name in installed}
    assert len(foreign) > 1
    assert {name for name, names in foreign.items() if not names & (declared | theirs | {"uniapl"})} == set()
