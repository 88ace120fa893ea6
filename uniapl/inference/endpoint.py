"""The endpoint of a model server: a fixed address, or a file in which the worker publishes that of a managed server.

A restarted server has another port and another token, so clients read the file before each request. The token is a
secret: only the owner can read the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from uniapl.run import atomic


class Address(BaseModel):
    """Address and state of a server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """Name of the model at the server."""
    url: str
    """Without a path such as `/v1`."""
    token: str | None = None
    """Bearer token, where the server requires one."""
    state: Literal["starting", "ready"] = "ready"
    """While a server starts, only its worker sends requests."""
    life: int = 0
    """Increases with each start of a managed server."""


def write_address(path: Path, address: Address) -> None:
    """Replace the file's content; a reader sees the old or the new."""
    atomic.write(path, address.model_dump_json().encode(), mode=0o600)


def read_address(path: Path) -> Address | None:
    """The address in the file; `None` if it is missing or incomplete."""
    try:
        return Address.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
