"""The layer contracts refuse an import that points upward, in every layer of every package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.integration

IMPORTLINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
LAYERED = {c["containers"][0]: c["layers"] for c in IMPORTLINTER["contracts"] if "containers" in c}


def modules(layer: str) -> list[str]:
    return [name.strip() for name in layer.split("|")]


def file_of(root: Path, module: str) -> Path:
    path = root / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of import-linter on a copy in which every module of a layer imports the layer above its own."""
    copy = tmp_path_factory.mktemp("wrong")
    for package in IMPORTLINTER["root_packages"]:
        source = ROOT / ("client" if package == "uniapl_client" else ".") / package
        shutil.copytree(source, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package, layers in LAYERED.items():
        for above, layer in pairwise(layers):
            for module in modules(layer):
                with file_of(copy, f"{package}.{module}").open("a") as file:
                    file.write(f"\nimport {package}.{modules(above)[0]}\n")
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    result = subprocess.run(
        command, cwd=copy, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(copy)}
    )
    assert result.returncode == 1
    return result.stdout


@pytest.mark.parametrize("package", LAYERED)
def test_an_upward_import_is_refused_in_every_layer(package: str, refused: str) -> None:
    layers = LAYERED[package]
    for above, layer in pairwise(layers):
        for module in modules(layer):
            assert f"{package}.{module} -> {package}.{modules(above)[0]} " in refused, (module, above)


@pytest.mark.parametrize("package", ["uniapl", "store", "api", "worker"])
def test_the_contracts_of_these_packages_name_every_module(package: str) -> None:
    [contract] = [c for c in IMPORTLINTER["contracts"] if c.get("containers") == [package]]
    assert contract["exhaustive"] is True
    assert "ignore_imports" not in contract
