"""Process groups: starting a command as leader of its own group, and killing the whole group."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

HOST = socket.gethostname()
OF_RANKS = {
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE"),
    *("ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
}
"""Variables that torchrun and cluster managers set for each rank of a distributed job, besides TORCHELASTIC_…
(https://docs.pytorch.org/docs/stable/elastic/run.html)."""


def boot_id() -> str:
    """Identifies this boot of the machine; pids of another boot are meaningless."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))


def start(
    command: Sequence[str], *, log: Path, environment: dict[str, str], folder: Path, given: bytes | None = None
) -> subprocess.Popen[bytes]:
    """Start a command as the leader of its own process group, its output appended to `log`.

    `given` is written to its standard input, which neither the process list nor a file exposes. A distributed
    launcher's variables are removed from the environment: the worker may be a rank, but its child is not.
    """
    stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=stdin, env=alone(environment), cwd=folder, process_group=0
        )
    if child.stdin is not None:
        with suppress(BrokenPipeError), child.stdin:  # it may have exited already; its status shows why
            child.stdin.write(given or b"")
    return child


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables of a distributed launcher."""
    return {k: v for k, v in environment.items() if k not in OF_RANKS and not k.startswith("TORCHELASTIC_")}


def start_time(pid: int) -> int | None:
    """The kernel's start time of a process in clock ticks since boot; `None` when there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def kill_group(pgid: int, *, started: int | None = None, wait_s: float = 10.0) -> None:
    """Kill a process group and wait until no member is running.

    Args:
        pgid: the group, which is its leader's pid.
        started: the leader's recorded start time; a leader with another one is an unrelated process and is not killed.
        wait_s: longest wait; the kernel may keep a process in uninterruptible I/O.
    """
    if started is not None and (found := start_time(pgid)) is not None and found != started:
        return
    deadline = time.monotonic() + wait_s
    while _members(pgid) and time.monotonic() < deadline:
        try:
            os.killpg(pgid, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.05)


def _members(pgid: int) -> list[int]:
    """Members of a group, without zombies."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.pid) == pgid and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except ProcessLookupError:
            continue
    return found


def tail(path: Path, lines: int = 20, size: int = 16_384) -> str:
    """The last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(line.rpartition("\r")[2] for line in text.rstrip("\n").split("\n")[-lines:])
