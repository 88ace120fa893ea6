"""Where a model's server is: a fixed address, or a file in which the worker keeps that of the server it looks after.

A server that is started again has another port and another token, so whoever asks looks into the file before each
request. The token is a secret: the file is its owner's alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from uniapl.run import atomic


class Address(BaseModel):
    """A server as of now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """Name of the model there."""
    url: str
    """Without a path such as `/v1`."""
    token: str | None = None
    """Bearer token, where it wants one."""
    state: Literal["starting", "ready"] = "ready"
    """While a server starts, nobody but its worker asks it."""
    life: int = 0
    """Grows with each start of a managed server."""


def write_address(path: Path, address: Address) -> None:
    """Replace the file's content; a reader sees the old or the new."""
    atomic.write(path, address.model_dump_json().encode(), mode=0o600)


def read_address(path: Path) -> Address | None:
    """What the file says; `None` where there is none that is whole."""
    try:
        return Address.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
