"""Guard of the unit tier: a test that imports torch, starts a process or opens a server fails."""

from __future__ import annotations

import sys
from typing import Any

REFUSED = {
    "subprocess.Popen": "starts a process",
    "os.fork": "starts a process",
    "os.posix_spawn": "starts a process",
    "socket.bind": "opens a server",
}


class NotUnitError(BaseException):
    """The test does what the unit tier excludes. No `except Exception` of the tested code hides it."""


def install() -> None:
    """Watch this process until it ends."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    does = "imports torch" if event == "import" and arguments[0] == "torch" else REFUSED.get(event)
    if does:
        raise NotUnitError(f"a test of the unit tier {does}; mark it `integration`")
