"""What the Dockerfiles copy, run and start is there; their install steps are the Makefile's."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from fnmatch import fnmatch

import pytest

from tests.conftest import ROOT
from tests.deploy.conftest import Config, dockerfile, make_targets, tool

pytestmark = pytest.mark.integration

FILES = ["api.Dockerfile", "worker.Dockerfile"]


def let_in(path: str) -> bool:
    """Whether `.dockerignore` lets a path into the build."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and not line.startswith("#")]
    assert rules[0] == "*"
    named = [rule[1:] for rule in rules if rule.startswith("!")]
    return any(path == name or path.startswith(f"{name}/") for name in named)


@pytest.mark.parametrize("file", FILES)
def test_what_is_copied_is_there_and_let_in(file: str) -> None:
    copied = [rest.split()[:-1] for kind, rest in dockerfile(file) if kind == "COPY" and "--from=" not in rest]
    paths = [path for group in copied for path in group]
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists(), path
        assert let_in(path), path


def test_what_is_let_in_is_there_and_holds_no_secret() -> None:
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            assert (ROOT / line[1:]).exists(), line
    for path in ("secrets/secret_key", ".env", "data/secret.key", ".git/config", "tests"):
        assert not let_in(path)


@pytest.mark.parametrize("file", FILES)
def test_images_are_installed_by_the_makefile(file: str) -> None:
    runs = [rest for kind, rest in dockerfile(file) if kind == "RUN"]
    called = [re.findall(r"\bmake ([a-z]+)((?: [A-Z]+=\S+)*)", run) for run in runs]
    targets = {target for calls in called for target, _ in calls}
    assert "install" in targets
    assert targets <= make_targets()
    assert not any("pip install" in run for run in runs)
    pyproject = (ROOT / "pyproject.toml").read_text()
    for extras in re.findall(r"EXTRAS=(\S+)", " ".join(runs)):
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", pyproject, re.MULTILINE), extra
    assert ("train" in " ".join(runs)) == (file == "worker.Dockerfile")


def test_the_packages_an_image_imports_are_copied_into_it() -> None:
    wanted = {"api.Dockerfile": {"api", "admin", "store", "worker", "uniapl", "client", "migrations"}}
    wanted["worker.Dockerfile"] = wanted["api.Dockerfile"] - {"api"}
    for file, packages in wanted.items():
        last = {rest.split()[0] for kind, rest in dockerfile(file) if kind == "COPY"}
        assert packages <= last


@pytest.mark.parametrize(("file", "service"), [(FILES[0], "api"), (FILES[1], "worker")])
def test_the_image_and_compose_start_the_same_command(file: str, service: str, everything: Config) -> None:
    [command] = [json.loads(rest) for kind, rest in dockerfile(file) if kind == "CMD"]
    assert command == everything["services"][service]["command"]


@pytest.mark.parametrize("file", FILES)
def test_what_is_started_and_asked_is_there(file: str) -> None:
    instructions = dict(dockerfile(file))
    command = json.loads(instructions["CMD"])
    module = command[command.index("-m") + 1] if "-m" in command else command[command.index("-A") + 1]
    assert importlib.util.find_spec(module) is not None
    _, script, url = json.loads(instructions["HEALTHCHECK"].partition("CMD ")[2])
    assert (ROOT / script).is_file()
    assert re.fullmatch(r"http://127\.0\.0\.1:(\d+)/(readyz|metrics)", url)
    assert f":{instructions['EXPOSE']}/" in url


def test_both_images_have_the_python_that_the_tests_run_on() -> None:
    bases = {rest.split()[0] for file in FILES for kind, rest in dockerfile(file) if kind == "FROM"}
    assert len(bases) == 1
    assert fnmatch(bases.pop(), "python:3.11-slim-*")


@pytest.mark.parametrize("file", FILES)
def test_hadolint_finds_nothing(file: str) -> None:
    program = tool("hadolint", "the Dockerfiles' style, by hadolint")
    command = [program, "--config", str(ROOT / ".hadolint.yaml"), str(ROOT / "docker" / file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
