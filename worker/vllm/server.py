"""One model's server beside a trainer: started, asked whether it really answers, started again, stopped.

Its health is a real request with a deadline, since a server's own `/health` says 200 also when its engine hangs; one
that is busy may answer late, as long as it processes tokens. An end that nobody asked for is a failure, exit status 0
included: that is how vLLM ends when its engine has been killed.
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
from uniapl.inference.endpoint import Address, write_address
from uniapl.run import atomic
from uniapl.run.reports import Level
from worker import process
from worker.vllm.command import Plan
from worker.vllm.probe import ask, pulse

LOOK_S = 0.2
DYING_S = 0.5
"""A server that breaks a connection is often about to end, and its status says more than the broken connection."""
ADDRESS, OWNER, LOG = "address.json", "owner.json", "server.log"
ROOT = Path(__file__).parent.parent.parent
LEASH = (sys.executable, "-m", "worker.vllm.reaper")
logger = logging.getLogger(__name__)

State = Literal["waiting", "starting", "ready", "failed", "stopped"]
"""`waiting`: the trainer has not written yet what is to be served."""


@dataclass(frozen=True)
class ServerEvent:
    """Something the owners of the jobs that use a server should read."""

    level: Level
    message: str
    data: dict[str, object] = field(default_factory=dict)


class Sidecar:
    """A server with the thread that looks after it.

    The thread starts the server too and lives as long: the kernel's death signal watches the thread.
    """

    def __init__(self, plan: Plan, settings: Settings, folder: Path, start_lock: threading.Lock) -> None:
        """
        Args:
            plan: what to serve.
            settings: how to start vLLM, and how patient to be.
            folder: for its log and address; made.
            start_lock: held while one starts: vLLM takes what others take of a card meanwhile for its own.
        """
        self.plan, self.folder = plan, folder
        self.state: State = "waiting"
        self.news: list[ServerEvent] = []
        """Grows; who tells it remembers how far."""
        self.problem = ""
        """Why it failed, once it has."""
        self.restarts = 0
        """Starts beyond the first since a job has taken it up."""
        self._settings = settings
        self._start_lock = start_lock
        self._generation = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sidecar-{folder.name}", daemon=True)
        folder.mkdir(parents=True, mode=0o700)
        self._sign(None)

    @property
    def address_file(self) -> Path:
        """What a trainer reads the server's address from."""
        return (self.folder / ADDRESS).absolute()

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / LOG

    def start(self) -> None:
        """Begin; `state` tells how it goes."""
        self._announce("starting")
        self.state = "starting" if self.plan.is_there() else "waiting"
        self._thread.start()

    def stop(self) -> None:
        """End the server and everything that it has started; its folder goes too."""
        self._stopping.set()
        if (child := self._child) is not None:
            process.kill_group(child.pid)  # also while it is being asked something
        self._thread.join()
        self.state = "stopped"
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self) -> None:
        try:
            self._look_after()
        except Exception as error:  # a bug or a broken machine: whoever waits must hear of it
            logger.exception("%s", self.folder.name)
            self.problem = f"could not be looked after: {type(error).__name__}: {error}"
            self.state = "failed"

    def _look_after(self) -> None:
        while not self.plan.is_there():
            if self._stopping.wait(LOOK_S):
                return
        self.state = "starting"
        while True:
            self.problem = self._live()
            if self._stopping.is_set():
                return
            self._announce("starting")
            if self.restarts >= self._settings.sidecar_restarts:
                self.state = "failed"
                return
            self.restarts += 1
            self._say(
                f"{self.plan.label} {self.problem}; starting it again "
                f"({self.restarts} of {self._settings.sidecar_restarts})",
                level="warning",
                log_tail=process.tail(self.log),
            )
            if self._stopping.wait(backoff.wait_s(self._settings.retry_backoff_s, self.restarts)):
                return

    def _live(self) -> str:
        """Start the server and look after it; returns what went wrong with it."""
        while not self._start_lock.acquire(timeout=LOOK_S):
            if self._stopping.is_set():
                return "was stopped"
        with ExitStack() as start_lock:
            start_lock.callback(self._start_lock.release)
            return self._live_one(start_lock)

    def _live_one(self, start_lock: ExitStack) -> str:
        self._generation += 1
        began = time.monotonic()
        port, token = _free_port(), secrets.token_urlsafe(32)
        address = Address(model=self.plan.model, url=f"http://127.0.0.1:{port}", token=token, life=self._generation)
        scratch = Path(tempfile.mkdtemp(prefix="uniapl-"))  # short: sockets lie in it
        try:
            child = self._child = self._start(port, token, scratch)
        except OSError as error:
            shutil.rmtree(scratch, ignore_errors=True)
            return f"cannot be started: {error}; look at UNIAPL_VLLM_COMMAND"
        try:
            self._sign(child.pid)
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
            raise FileNotFoundError(f"there is no program {command[0]!r}")
        environment = {
            **self.plan.environment(self._settings, os.environ),
            "VLLM_API_KEY": token,
            "TMPDIR": str(scratch),
        }
        return process.start([*LEASH, str(os.getpid()), *command], log=self.log, environment=environment, folder=ROOT)

    def _sign(self, pgid: int | None) -> None:
        """Note whose server this is, and its process group, so that another worker can bury what we leave behind."""
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
        """Until it has answered a real request; returns what went wrong."""
        problem = ""
        while not self._stopping.wait(LOOK_S):
            if (status := child.poll()) is not None:
                return f"ended with status {status} before it was ready"
            if time.monotonic() - began > self._settings.sidecar_start_s:
                return f"was not ready within {self._settings.sidecar_start_s:g} s; at last it {problem}"
            if _listens(address) and not (problem := self._ask(address)):
                self._announce("ready", address)
                seconds = time.monotonic() - began
                self._say(f"{self.plan.label} is ready after {seconds:.0f} s", seconds=round(seconds, 1))
                return None
        return "was stopped"

    def _watch(self, child: subprocess.Popen[bytes], address: Address) -> str:
        """Until something is wrong, or it is no longer wanted; returns what."""
        asked = time.monotonic()
        while not self._stopping.wait(LOOK_S):
            problem = ""
            if time.monotonic() - asked >= self._settings.sidecar_probe_every_s:
                problem = asyncio.run(pulse(self.plan, address, self._settings.sidecar_probe_s))
                asked = time.monotonic()
            if (status := _ended(child, within_s=DYING_S if problem else 0)) is not None:
                return f"ended with status {status}, which nobody asked for"
            if problem:
                return problem
        return "was stopped"

    def _ask(self, address: Address) -> str:
        """What is wrong with the answer to a real request; nothing, if nothing is."""
        return asyncio.run(ask(self.plan, address, self._settings.sidecar_probe_s)).problem

    def _announce(self, state: Literal["starting", "ready"], address: Address | None = None) -> None:
        """Tell trainers first, and then whoever looks at `state`."""
        found = address or Address(model=self.plan.model, url="", state=state, life=self._generation)
        write_address(self.folder / ADDRESS, found)
        self.state = state

    def _say(self, message: str, *, level: Level = "info", **data: object) -> None:
        logger.info("%s: %s", self.folder.name, message)
        self.news.append(ServerEvent(level, message, data))


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
