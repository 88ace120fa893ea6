"""Which services a client talks to: the same major version, and before 1.0 the same minor version too."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version

from uniapl_client.errors import VersionError

HEADER = "x-uniapl-version"


@cache
def client_version() -> str:
    """This package's version."""
    return version("uniapl-client")


def check(server: str, client: str | None = None) -> None:
    """Compare the service's version with the client's (this package's by default).

    Raises:
        VersionError: they do not go together.
    """
    client = client or client_version()
    theirs, ours = _series(server), _series(client)
    if theirs is None or ours is None or theirs == ours:
        return
    wanted = ".".join(map(str, theirs))
    error = VersionError(
        f"the service has version {server}, and this client, {client}, does not understand it: "
        f'run pip install "uniapl-client=={wanted}.*", or have the service brought to {".".join(map(str, ours))}'
    )
    error.server_version, error.client_version = server, client
    raise error


def _series(version: str) -> tuple[int, ...] | None:
    """What has to be equal; `None` for a text that is no version."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        return None
    major, minor = int(found[1]), int(found[2])
    return (major,) if major else (major, minor)
