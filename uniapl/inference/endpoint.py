"""The endpoint of a model server: a fixed address, or a file in which the worker publishes that of a managed server.

A restarted server has another port and another token, so clients read the file before each request. The token is a
secret: only the owner can read the file.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
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


class ProbePause:
    """A file beside the address of a managed server that suspends its health probes until a deadline.

    The trainer writes it while the server loads weights or sleeps and therefore cannot answer a probe. The deadline is
    a time of the monotonic clock, which all processes of a machine share.
    """

    def __init__(self, address_file: Path) -> None:
        self._file = address_file.with_name("probes_paused")

    def begin(self, seconds: float = math.inf) -> None:
        """Suspend probes for at most this long."""
        atomic.write(self._file, repr(time.monotonic() + seconds).encode(), mode=0o600)

    def end(self) -> None:
        """Resume probes."""
        self._file.unlink(missing_ok=True)

    @property
    def active(self) -> bool:
        """Whether probes are suspended."""
        with suppress(OSError, ValueError):
            return time.monotonic() < float(self._file.read_text())
        return False


class RestartRequest:
    """A file beside the address of a managed server by which the trainer has the worker restart it.

    A transfer of weights that failed leaves a server that hangs, or has a part of the weights; vLLM has no route that
    resets it.
    """

    def __init__(self, address_file: Path) -> None:
        self._file = address_file.with_name("restart")

    def make(self, life: int) -> None:
        """Request the end of this life of the server."""
        atomic.write(self._file, str(life).encode(), mode=0o600)

    def is_for(self, life: int) -> bool:
        """Whether the end of this life is requested."""
        with suppress(OSError, ValueError):
            return int(self._file.read_text()) == life
        return False
