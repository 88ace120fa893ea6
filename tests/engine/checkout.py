"""The compose stack on a container engine, from a copy of this checkout with an own project name, images and port."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Self

from uniapl_client import Client

from tests.conftest import ROOT
from tests.faults.servers import free_port

IMAGES = """\
services:
  migrate: {image: "uniapl-api:compose-test"}
  api: {image: "uniapl-api:compose-test"}
  worker: {image: "uniapl-worker:compose-test"}
"""
UP = "docker compose up -d --wait --build"


class Checkout(AbstractContextManager["Checkout"]):
    """A context manager: containers, networks and volumes are removed with it, images stay in the engine's cache."""

    def __init__(self, folder: Path) -> None:
        """Copies the checkout's files to `folder` as a user with umask 077 has them."""
        self.folder = folder
        for name in _own_files():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
            target.chmod(0o700 if os.access(ROOT / name, os.X_OK) else 0o600)
        for directory, _, _ in os.walk(folder):
            Path(directory).chmod(0o700)
        (folder / "images.yml").write_text(IMAGES)
        self.port = free_port()
        self.environment = {
            **os.environ,
            "COMPOSE_FILE": "docker-compose.yml:docker/cpu.yml:images.yml",
            "COMPOSE_PROJECT_NAME": f"uniapl-test-{token_hex(4)}",
            "API_PORT": str(self.port),
        }

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
        done = self._finished(command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def output_of(self, command: str) -> str:
        """What a command writes, whatever status it ends with."""
        done = self._finished(command)
        return done.stdout + done.stderr

    def _finished(self, command: str) -> subprocess.CompletedProcess[str]:
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

    def unreadable(self, image: str) -> list[str]:
        """Files and folders under /app and /usr/local of an image that its user cannot read or enter."""
        search = r"find /app /usr/local \( ! -readable -o -type d ! -executable \) -prune -print"
        return self.run(f"docker run --rm --network none {image} sh -c {shlex.quote(search)}").splitlines()


def _own_files() -> list[str]:
    """Files that are tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]
