"""Version compatibility of client and service: equal major versions, and before 1.0 equal minor versions."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version

from uniapl_client.errors import VersionError

HEADER = "x-uniapl-version"


@cache
def client_version() -> str:
    """Version of this package."""
    return version("uniapl-client")


def check(server: str, client: str | None = None) -> None:
    """Check the service's version against the client's (by default this package's).

    Raises:
        VersionError: the versions are incompatible.
    """
    client = client or client_version()
    theirs, ours = _series(server), _series(client)
    if theirs is None or ours is None or theirs == ours:
        return
    wanted = ".".join(map(str, theirs))
    error = VersionError(
        f"the service has version {server}, which client version {client} does not support; "
        f'run pip install "uniapl-client=={wanted}.*", or upgrade the service to {".".join(map(str, ours))}'
    )
    error.server_version, error.client_version = server, client
    raise error


def _series(version: str) -> tuple[int, ...] | None:
    """The version parts that must be equal; `None` for an invalid version."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        return None
    major, minor = int(found[1]), int(found[2])
    return (major,) if major else (major, minor)
