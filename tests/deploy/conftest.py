"""The compose files as docker compose merges them; a missing tool skips its checks and names them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

TOOLS = ROOT / ".venv-deploy" / "bin"
COMPOSE_FILES = [
    ("docker-compose.yml",),
    ("docker-compose.yml", "docker/cpu.yml"),
    ("docker-compose.yml", "docker/shared.yml"),
    ("docker-compose.yml", "docker/second-gpu.yml"),
    ("docker-compose.yml", "docker/cpu.yml", "docker/shared.yml"),
]
PROFILES = [(), ("observe",), ("discriminator",), ("observe", "discriminator")]
Config = dict[str, Any]


def tool(name: str, unchecked: str) -> str:
    """The path of a program, or a skip that names what is not checked."""
    ours = TOOLS / name
    found = str(ours) if ours.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here (`make compose-check` installs what pip has), so not checked: {unchecked}")
    return found


@pytest.fixture(scope="session")
def compose() -> Callable[..., Config]:
    """`docker compose config` for a set of files and profiles, as JSON, whatever environment and `.env` say."""
    program = tool("docker-compose", "that the compose files can be read, and fit together")

    def config(files: tuple[str, ...] = ("docker-compose.yml",), profiles: tuple[str, ...] = ()) -> Config:
        command = [program, "--project-directory", str(ROOT), "--env-file", os.devnull]
        command += [part for file in files for part in ("--file", str(ROOT / file))]
        command += [part for profile in profiles for part in ("--profile", profile)]
        done = subprocess.run(
            [*command, "config", "--no-env-resolution", "--format", "json"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        )
        assert done.returncode == 0, done.stderr
        assert "is not set" not in done.stderr  # a variable without a default
        found: Config = json.loads(done.stdout)
        return found

    return config


@pytest.fixture(scope="session")
def everything(compose: Callable[..., Config]) -> Config:
    """Every service of `docker-compose.yml`."""
    return compose(profiles=PROFILES[-1])


Instructions = list[tuple[str, str]]
"""Instructions of a Dockerfile, each with what follows it."""


def stages() -> dict[str, Instructions]:
    """Instructions of each stage of docker/Dockerfile by its name, `FROM` first; continued lines joined, comments left
    out."""
    lines = (ROOT / "docker" / "Dockerfile").read_text().splitlines()
    whole = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", " ")
    found: dict[str, Instructions] = {}
    stage: Instructions = []
    for line in filter(str.strip, whole.splitlines()):
        kind, rest = line.split(maxsplit=1)
        if kind == "FROM":
            stage = found[rest.split()[-1]] = []
        stage.append((kind, rest))
    return found


def image(target: str) -> Instructions:
    """Instructions of an image: those of its stage after those of the stages that it starts from."""
    every = stages()
    base = every[target][0][1].split()[0]
    return (image(base) if base in every else []) + every[target]


def built_from(target: str) -> Instructions:
    """Instructions that decide an image's content: also those of the stages that it copies from."""
    copied = [word for kind, rest in image(target) if kind == "COPY" for word in rest.split() if "--from=" in word]
    sources = dict.fromkeys(word.partition("=")[2] for word in copied)
    return image(target) + [one for source in sources for one in built_from(source)]


def make_targets() -> set[str]:
    """Targets of the Makefile, whether they name files or not."""
    lines = (ROOT / "Makefile").read_text().splitlines()
    return {line.split(":")[0] for line in lines if line and line[0].isalpha() and ":" in line and "=" not in line[:20]}


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
