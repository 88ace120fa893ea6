"""`python -m tests.engine.with_engine [--or-skip] COMMAND…`: a command with a container engine that builds images.

An engine that responds is used. Otherwise `dockerd`, where it is installed and this user may run it, is started in a
temporary folder for as long as the command runs. Without an engine, or without the base images and a registry to pull
them from, the command is not run; the reason is printed, and the status is 1, or 0 with `--or-skip`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT
from tests.engine.checkout import reachable

START_S = 30
STOP_S = 20
REGISTRY = "registry-1.docker.io"


class EngineUnavailable(Exception):
    """Why no container engine can be used."""


def main(arguments: list[str]) -> int:
    """Run the command; returns its status."""
    optional = arguments[:1] == ["--or-skip"]
    command = arguments[1:] if optional else arguments
    try:
        with engine() as environment:
            require_base_images(environment)
            return subprocess.run(command, env=environment, check=False).returncode
    except EngineUnavailable as reason:
        print(skipped(reason))
        return 0 if optional else 1


def skipped(reason: EngineUnavailable) -> str:
    """The line that a run without the tests ends with."""
    return f"SKIPPED: {reason}; the stack was not tested on a container engine"


@contextmanager
def engine() -> Iterator[dict[str, str]]:
    """The environment of a command that uses the engine.

    Raises:
        EngineUnavailable: none responds, and none can be started.
    """
    environment = dict(os.environ)
    if shutil.which("docker") is None:
        raise EngineUnavailable("the program `docker` is not installed")
    for plugin in ("compose", "buildx"):
        if not succeeds(environment, plugin, "version"):
            raise EngineUnavailable(f"`docker {plugin}` is not installed")
    if succeeds(environment, "info"):
        yield environment
        return
    program = shutil.which("dockerd")
    if program is None or os.geteuid() != 0:
        lacking = "`dockerd` is not installed" if program is None else "only root may start `dockerd`"
        raise EngineUnavailable(f"no container engine responds, and {lacking}")
    with tempfile.TemporaryDirectory(prefix="dockerd-") as folder:
        yield from _own(program, Path(folder), environment)


def _own(program: str, folder: Path, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Start dockerd in a folder, and stop it at the end."""
    host = f"unix://{folder}/docker.sock"
    places = [f"--{name}={folder}/{name}" for name in ("data-root", "exec-root", "pidfile")]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen([program, f"--host={host}", *places], stdout=log, stderr=log)
    environment = {**environment, "DOCKER_HOST": host}
    try:
        deadline = time.monotonic() + START_S
        while not succeeds(environment, "info"):
            if daemon.poll() is not None or time.monotonic() > deadline:
                last = (folder / "log").read_text(errors="replace").strip().rpartition("\n")[2]
                raise EngineUnavailable(f"`dockerd` does not start on this machine: {last}")
            time.sleep(0.5)
        yield environment
    finally:
        daemon.terminate()
        try:
            daemon.wait(STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def require_base_images(environment: dict[str, str]) -> None:
    """Check that each image that the stack starts from is in the engine, or can be pulled.

    Raises:
        EngineUnavailable: one cannot.
    """
    missing = [image for image in base_images() if not succeeds(environment, "image", "inspect", image)]
    if missing and not reachable(REGISTRY):
        raise EngineUnavailable(f"{', '.join(missing)} cannot be pulled: the registry {REGISTRY} is unreachable")


def base_images() -> list[str]:
    """Images that the Dockerfile and the services without a profile start from."""
    [python] = re.findall(r"^FROM (\S+:\S+)", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    compose = (ROOT / "docker-compose.yml").read_text()
    return [python, *re.findall(r"^    image: ((?:postgres|redis):\S+)$", compose, re.MULTILINE)]


def succeeds(environment: dict[str, str], *arguments: str) -> bool:
    """Whether a command of docker succeeds within ten seconds."""
    command = ["docker", *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
