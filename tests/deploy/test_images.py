"""The Dockerfile: what its stages copy, run and start exists; their install steps are the Makefile's."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from fnmatch import fnmatch

import pytest

from tests.conftest import ROOT
from tests.deploy.conftest import Config, built_from, image, make_targets, stages, tool

pytestmark = pytest.mark.integration

TARGETS = ["api", "worker", "worker-vllm"]


def let_in(path: str) -> bool:
    """Whether `.dockerignore` lets a path into the build."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and not line.startswith("#")]
    assert rules[0] == "*"
    named = [rule[1:] for rule in rules if rule.startswith("!")]
    return any(path == name or path.startswith(f"{name}/") for name in named)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_copied_is_there_and_let_in(target: str) -> None:
    copied = [rest.split()[:-1] for kind, rest in built_from(target) if kind == "COPY" and "--from=" not in rest]
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


@pytest.mark.parametrize("target", TARGETS)
def test_images_are_installed_by_the_makefile(target: str) -> None:
    runs = [rest for kind, rest in built_from(target) if kind == "RUN"]
    called = {name for run in runs for name in re.findall(r"\bmake ([a-z][a-z-]*)", run)}
    assert "install" in called
    assert called <= make_targets()
    assert not any("pip install" in run for run in runs)
    pyproject = (ROOT / "pyproject.toml").read_text()
    for extras in re.findall(r"EXTRAS=(\S+)", " ".join(runs)):
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", pyproject, re.MULTILINE), extra
    assert ("install-vllm" in called) == (target == "worker-vllm")


def test_the_environment_of_the_api_has_no_torch() -> None:
    installs = {name: rest for name in stages() for kind, rest in stages()[name] if kind == "RUN" and "EXTRAS" in rest}
    assert installs == {
        "api-environment": "make install EXTRAS=server,otel",
        "worker-environment": "make install EXTRAS=train,bitsandbytes,server,otel",
    }


def test_the_packages_an_image_imports_are_copied_into_it() -> None:
    wanted = {"admin", "store", "worker", "uniapl", "client", "migrations"}
    for target in TARGETS:
        sources = {rest.split()[0] for kind, rest in built_from(target) if kind == "COPY"}
        assert wanted <= sources
        assert ("api" in sources) == (target == "api")


@pytest.mark.parametrize(
    ("target", "layers"),
    [
        ("api", ["--from=api-environment", "--from=models", "--from=api-code"]),
        ("worker", ["--from=worker-environment", "--from=models", "--from=worker-code"]),
        (
            "worker-vllm",
            ["--from=worker-environment", "--from=models", "--from=vllm-environment", "--from=worker-code"],
        ),
    ],
)
def test_code_is_the_last_layer_and_environment_the_first(target: str, layers: list[str]) -> None:
    """Docker rewrites every layer behind a changed one."""
    assert [rest.split()[0] for kind, rest in image(target) if kind == "COPY"] == layers


@pytest.mark.parametrize(("target", "service"), [("api", "api"), ("worker", "worker"), ("worker-vllm", "worker")])
def test_the_image_and_compose_start_the_same_command(target: str, service: str, everything: Config) -> None:
    [command] = [json.loads(rest) for kind, rest in image(target) if kind == "CMD"]
    assert command == everything["services"][service]["command"]


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_started_and_asked_is_there(target: str) -> None:
    instructions = dict(image(target))
    command = json.loads(instructions["CMD"])
    module = command[command.index("-m") + 1] if "-m" in command else command[command.index("-A") + 1]
    assert importlib.util.find_spec(module) is not None
    *_, script, url = json.loads(instructions["HEALTHCHECK"].partition("CMD ")[2])
    assert (ROOT / script).is_file()
    assert re.fullmatch(r"http://127\.0\.0\.1:(\d+)/(readyz|metrics)", url)
    assert f":{instructions['EXPOSE']}/" in url


def test_the_worker_starts_the_vllm_of_its_image() -> None:
    [command] = re.findall(r"UNIAPL_VLLM_COMMAND='(.*)'", dict(stages()["worker-vllm"])["ENV"])
    assert json.loads(command) == ["/opt/vllm/bin/vllm"]
    assert ("COPY", "--from=vllm-environment /opt/vllm /opt/vllm") in stages()["worker-vllm"]
    pins = (ROOT / "docker" / "vllm" / "requirements.txt").read_text().split()
    assert all("==" in pin for pin in pins)
    assert {"vllm==0.33.0", "torch==2.14.0"} <= set(pins)


def test_all_images_have_the_python_that_the_tests_run_on() -> None:
    outside = {rest.split()[0] for stage in stages().values() for kind, rest in stage if kind == "FROM"} - set(stages())
    assert len(outside) == 1
    assert fnmatch(outside.pop(), "python:3.11-slim-*")


def test_hadolint_finds_nothing() -> None:
    program = tool("hadolint", "the Dockerfile's style, by hadolint")
    command = [program, "--config", str(ROOT / ".hadolint.yaml"), str(ROOT / "docker" / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
