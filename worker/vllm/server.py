"""Model server beside a trainer: started, probed, restarted, stopped.

Health is checked by a real request with a deadline, since vLLM's `/health` returns 200 even while its engine hangs; a
busy server may reply late as long as it processes tokens. An unexpected exit is a failure even with status 0, with
which vLLM exits when its engine has been killed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from store import backoff
from store.settings import Settings
from uniapl.inference.endpoint import Address, ProbePause, RestartRequest, write_address
from uniapl.run import atomic
from uniapl.run.reports import Level
from worker import process
from worker.vllm.command import Plan
from worker.vllm.probe import ask, pulse

LOOK_S = 0.2
DYING_S = 0.5
"""Wait for the exit status after a broken connection: the server is often about to exit, and its status is more
informative."""
ADDRESS, OWNER, LOG = "address.json", "owner.json", "server.log"
ROOT = Path(__file__).parent.parent.parent
REAPER = (sys.executable, "-m", "worker.vllm.reaper")
logger = logging.getLogger(__name__)

State = Literal["waiting", "starting", "ready", "failed", "stopped"]
"""`waiting`: the trainer has not written the weights yet."""


@dataclass(frozen=True)
class ServerEvent:
    """Something that happened to a server, for the events of the jobs that use it."""

    level: Level
    message: str
    data: dict[str, object] = field(default_factory=dict)


class Sidecar:
    """A server with the thread that supervises it.

    The thread also starts the server and outlives it: the kernel's death signal is bound to the thread.
    """

    def __init__(self, plan: Plan, settings: Settings, folder: Path, start_lock: threading.Lock) -> None:
        """
        Args:
            plan: what to serve.
            settings: the vLLM command, time limits and restarts.
            folder: created here, for the log and the address.
            start_lock: held during a start: vLLM misattributes GPU memory that other processes allocate meanwhile.
        """
        self.plan, self.folder = plan, folder
        self.state: State = "waiting"
        self.events: list[ServerEvent] = []
        """Append-only; each reader keeps its own position."""
        self.problem = ""
        """Cause of the last failure."""
        self.restarts = 0
        """Restarts since a job acquired it."""
        self._settings = settings
        self._start_lock = start_lock
        self._generation = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sidecar-{folder.name}", daemon=True)
        folder.mkdir(parents=True, mode=0o700)
        self._record_owner(None)

    @property
    def address_file(self) -> Path:
        """File from which a trainer reads the server's address."""
        return (self.folder / ADDRESS).absolute()

    @property
    def log(self) -> Path:
        """The server's output."""
        return self.folder / LOG

    def start(self) -> None:
        """Start the thread; `state` shows its progress."""
        self._announce("starting")
        self.state = "starting" if self.plan.is_there() else "waiting"
        self._thread.start()

    def stop(self) -> None:
        """Kill the server's process group, and remove its folder."""
        self._stopping.set()
        if (child := self._child) is not None:
            process.kill_group(child.pid)  # also during a probe
        self._thread.join()
        self.state = "stopped"
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self) -> None:
        try:
            self._supervise()
        except Exception as error:  # a bug or a broken machine: the waiting job must fail
            logger.exception("%s", self.folder.name)
            self.problem = f"could not be supervised: {type(error).__name__}: {error}"
            self.state = "failed"

    def _supervise(self) -> None:
        while not self.plan.is_there():
            if self._stopping.wait(LOOK_S):
                return
        self.state = "starting"
        while True:
            self.problem = self._serve_until_fault()
            if self._stopping.is_set():
                return
            self._announce("starting")
            if self.restarts >= self._settings.sidecar_restarts:
                self.state = "failed"
                return
            self.restarts += 1
            self._add_event(
                f"the {self.plan.label} {self.problem}; restarting it "
                f"({self.restarts} of {self._settings.sidecar_restarts})",
                level="warning",
                log_tail=process.tail(self.log),
            )
            if self._stopping.wait(backoff.wait_s(self._settings.retry_backoff_s, self.restarts)):
                return

    def _serve_until_fault(self) -> str:
        """Start the server and supervise it until it fails; returns the fault."""
        while not self._start_lock.acquire(timeout=LOOK_S):
            if self._stopping.is_set():
                return "was stopped"
        with ExitStack() as start_lock:
            start_lock.callback(self._start_lock.release)
            return self._start_and_watch(start_lock)

    def _start_and_watch(self, start_lock: ExitStack) -> str:
        self._generation += 1
        began = time.monotonic()
        port, token = _free_port(), secrets.token_urlsafe(32)
        address = Address(model=self.plan.model, url=f"http://127.0.0.1:{port}", token=token, life=self._generation)
        scratch = Path(tempfile.mkdtemp(prefix="uniapl-"))  # a short path: it contains sockets
        try:
            child = self._child = self._start(port, token, scratch)
        except OSError as error:
            shutil.rmtree(scratch, ignore_errors=True)
            return f"cannot be started: {error}; check UNIAPL_VLLM_COMMAND"
        try:
            self._record_owner(child.pid)
            ProbePause(self.address_file).end()  # the server before it may have been asleep
            if (problem := self._warm_up(child, address, began)) is not None:
                return problem
            start_lock.close()
            return self._watch(child, address)
        finally:
            process.kill_group(child.pid)
            self._child = None
            child.wait()
            shutil.rmtree(scratch, ignore_errors=True)

    def _start(self, port: int, token: str, scratch: Path) -> subprocess.Popen[bytes]:
        command = self.plan.command(self._settings, port)
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(f"program {command[0]!r} not found")
        environment = {
            **self.plan.environment(self._settings, os.environ),
            "VLLM_API_KEY": token,
            "TMPDIR": str(scratch),
        }
        return process.start([*REAPER, str(os.getpid()), *command], log=self.log, environment=environment, folder=ROOT)

    def _record_owner(self, pgid: int | None) -> None:
        """Record the owner and the process group, so that another worker can kill the server if this one dies."""
        owner = {
            "host": process.HOST,
            "boot_id": process.boot_id(),
            "owner": os.getpid(),
            "owner_started": process.start_time(os.getpid()),
            "pgid": pgid,
            "started": None if pgid is None else process.start_time(pgid),
        }
        atomic.write(self.folder / OWNER, json.dumps(owner).encode())

    def _warm_up(self, child: subprocess.Popen[bytes], address: Address, began: float) -> str | None:
        """Wait until the server replies to a probe; returns the fault if it does not."""
        problem = ""
        while not self._stopping.wait(LOOK_S):
            if (status := child.poll()) is not None:
                return f"exited with status {status} before it was ready"
            if time.monotonic() - began > self._settings.sidecar_start_s:
                seconds, problem = self._settings.sidecar_start_s, problem or "no connection"
                return f"was not ready within {seconds:g} s ({problem})"
            if _listens(address) and not (problem := self._ask(address)):
                self._announce("ready", address)
                seconds = time.monotonic() - began
                self._add_event(f"the {self.plan.label} is ready after {seconds:.0f} s", seconds=round(seconds, 1))
                return None
        return "was stopped"

    def _watch(self, child: subprocess.Popen[bytes], address: Address) -> str:
        """Probe the server until it fails or is stopped; returns the fault."""
        probed, pause, restart = time.monotonic(), ProbePause(self.address_file), RestartRequest(self.address_file)
        while not self._stopping.wait(LOOK_S):
            problem = "failed to receive weights" if restart.is_for(address.life) else ""
            due = not problem and time.monotonic() - probed >= self._settings.sidecar_probe_every_s
            if due and not pause.active:
                problem = asyncio.run(pulse(self.plan, address, self._settings.sidecar_probe_s))
                problem = "" if pause.active else problem  # the pause began during the probe
                probed = time.monotonic()
            if (status := _ended(child, within_s=DYING_S if problem else 0)) is not None:
                return f"exited unexpectedly with status {status}"
            if problem:
                return problem
        return "was stopped"

    def _ask(self, address: Address) -> str:
        """The fault that a probe finds; empty if the server is healthy."""
        return asyncio.run(ask(self.plan, address, self._settings.sidecar_probe_s)).problem

    def _announce(self, state: Literal["starting", "ready"], address: Address | None = None) -> None:
        """Write the address file, then set `state`, in this order."""
        found = address or Address(model=self.plan.model, url="", state=state, life=self._generation)
        write_address(self.folder / ADDRESS, found)
        self.state = state

    def _add_event(self, message: str, *, level: Level = "info", **data: object) -> None:
        logger.info("%s: %s", self.folder.name, message)
        self.events.append(ServerEvent(level, message, data))


def _ended(child: subprocess.Popen[bytes], *, within_s: float) -> int | None:
    try:
        return child.wait(within_s)
    except subprocess.TimeoutExpired:
        return None


def _listens(address: Address) -> bool:
    host, port = address.url.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
