"""A compose project on a container engine, from a copy of a commit's or this checkout's files."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Self

from uniapl_client import Client

from tests.conftest import ROOT
from tests.faults.servers import free_port

API, WORKER = "uniapl-api:compose-test", "uniapl-worker:compose-test"
IMAGES = f"""\
services:
  migrate: {{image: "{API}"}}
  api: {{image: "{API}"}}
  worker: {{image: "{WORKER}"}}
"""
UP = "docker compose up -d --wait --build"
CPU_INDEX = "download.pytorch.org"
"""Server of the CPU builds of torch that docker/cpu.yml names."""


class Checkout(AbstractContextManager["Checkout"]):
    """A context manager: containers, networks and volumes are removed with it, images stay in the engine's cache."""

    def __init__(self, folder: Path) -> None:
        """Copies the checkout's files to `folder` as a user with umask 077 has them."""
        self.folder = folder
        self.replace_files()
        self.port = free_port()
        self.environment = {
            **os.environ,
            "COMPOSE_FILE": "docker-compose.yml:docker/cpu.yml:images.yml",
            "COMPOSE_PROJECT_NAME": f"uniapl-test-{token_hex(4)}",
            "API_PORT": str(self.port),
        }
        if "PIP_EXTRA_INDEX_URL" not in os.environ and not reachable(CPU_INDEX):
            self.environment["PIP_EXTRA_INDEX_URL"] = ""  # pip's own configuration decides

    def replace_files(self, commit: str | None = None) -> None:
        """Replace the project's files, not `secrets`, by those of a commit or of this checkout, as `git pull` does."""
        for path in self.folder.iterdir():
            if path.name != "secrets":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if commit is None:
            _copy(_own_files(), self.folder)
        else:
            subprocess.run(f"git archive {commit} | tar -x -C {self.folder}", shell=True, cwd=ROOT, check=True)
        for path in self.folder.rglob("*"):
            if "secrets" not in path.relative_to(self.folder).parts[:1]:
                path.chmod(path.stat().st_mode & 0o700)
        (self.folder / "images.yml").write_text(IMAGES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.output_of("docker compose logs --tail 40"))
        self.run("docker compose down --volumes --timeout 5")

    def run(self, command: str) -> str:
        """Run a command line of a shell in the checkout; returns its standard output.

        Raises:
            AssertionError: the command ended with another status than 0; the message holds its output.
        """
        done = self.finished(command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def output_of(self, command: str) -> str:
        """What a command writes, whatever status it ends with."""
        done = self.finished(command)
        return done.stdout + done.stderr

    def finished(self, command: str) -> subprocess.CompletedProcess[str]:
        """Status and output of a command line, whatever its status."""
        return subprocess.run(
            ["bash", "-c", f"set -eu -o pipefail\n{command}"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def key(self) -> str:
        """A new API key of the stack."""
        return self.run("docker compose exec -T api uniapl admin keys create").split()[0]

    def client(self, key: str) -> Client:
        """The SDK, connected to the stack's API."""
        return Client(f"http://127.0.0.1:{self.port}", api_key=key)

    def in_container(self, service: str, script: str) -> str:
        """What a shell script writes in the running container of a service; its exit status does not matter."""
        return self.output_of(f"docker compose exec -T {service} sh -c {shlex.quote(script)}")


def _copy(names: Iterable[str], folder: Path) -> None:
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)


def _own_files() -> list[str]:
    """Files that are tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def reachable(host: str) -> bool:
    """Whether an HTTPS server accepts a connection."""
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError:
        return False
    return True
