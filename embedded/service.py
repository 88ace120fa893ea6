"""Start, monitoring and stop of the embedded service's two processes."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from embedded.first_key import first_key
from store.migrate import upgrade
from store.settings import InvalidSettings, read_settings

ROOT = Path(__file__).parent.parent
START_S = 180.0
"""Start timeout in seconds, for a busy machine; an exit of a process is detected immediately."""
LOOPBACK = "127.0.0.1"


class EmbeddedService:
    """API and worker on one data folder; a context manager that terminates both.

    The processes exit with the thread that started them, even after SIGKILL.
    """

    def __init__(
        self, data_dir: Path, *, host: str = LOOPBACK, port: int = 0, environment: dict[str, str] | None = None
    ) -> None:
        """
        Args:
            data_dir: folder of database, messages, datasets, checkpoints and logs.
            host: address on which the API listens.
            port: port of the API; 0 for a free one.
            environment: additional `UNIAPL_…` settings.
        """
        self.data_dir = data_dir.absolute()
        self.host = host
        self.port = port or free_port(host)
        self.url = f"http://{in_address(host)}:{self.port}"
        """Address of the API from this machine."""
        self._environment = {
            "UNIAPL_MODELS_FILE": str(ROOT / "models.json"),
            **os.environ,
            "PYTHONPATH": str(ROOT),
            **(environment or {}),
            "UNIAPL_DATA_DIR": str(self.data_dir),
        }
        self.api_key: str | None = None
        """API key of the tenant `default` with all scopes; set after the start."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop(grace_s=0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(grace_s=5)

    def start(self) -> None:
        """Migrate the database, start both processes, and wait until the API is ready.

        Raises:
            RuntimeError: the API was not ready within three minutes (with the end of its log), a setting cannot be
                used, or the service would be reachable from other machines without API keys.
        """
        auth = self._environment.get("UNIAPL_AUTH", "true")
        database_url = self._environment.get("UNIAPL_DATABASE_URL", "")
        try:
            settings = read_settings(data_dir=self.data_dir, database_url=database_url, auth=auth)
        except InvalidSettings as error:
            raise RuntimeError(str(error)) from None
        if not settings.auth and not is_loopback(self.host):
            raise RuntimeError(
                f"listening on {self.host}, which other machines can reach, requires API keys; "
                f"remove UNIAPL_AUTH={auth}, or listen on {LOOPBACK}"
            )
        (self.data_dir / "logs").mkdir(parents=True, exist_ok=True)
        upgrade(settings)
        self.api_key = first_key(settings)
        self.start_api()
        self.start_worker()
        deadline = time.monotonic() + START_S
        while not self._ready():
            self.check()
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the API was not ready within {START_S:.0f} s; "
                    f"end of its log:\n{self.log('api').read_text()[-2000:]}"
                )
            time.sleep(0.1)

    def start_api(self) -> None:
        """Start the API process."""
        self._spawn("api", "api", "--host", self.host, "--port", str(self.port))

    def start_worker(self) -> None:
        """Start the worker process."""
        options = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self._spawn("worker", "celery", "-A", "worker.app", "worker", *options)

    def pid(self, name: str) -> int:
        """Process id of `api` or `worker`."""
        return self._processes[name].pid

    def check(self) -> None:
        """Raise RuntimeError, with the end of the log, if a process has exited."""
        for name in self._processes:
            if self.has_ended(name):
                raise RuntimeError(
                    f"the {name} exited unexpectedly; end of its log:\n{self.log(name).read_text()[-2000:]}"
                )

    def has_ended(self, name: str) -> bool:
        """Whether `api` or `worker` has exited."""
        return self._processes[name].poll() is not None

    def log(self, name: str) -> Path:
        """Log file of `api` or `worker`."""
        return self.data_dir / "logs" / f"{name}.log"

    def restart_dead(self, report: Callable[[str], None]) -> None:
        """Restart processes that exited unexpectedly."""
        for name, restart in (("api", self.start_api), ("worker", self.start_worker)):
            status = self._processes[name].poll()
            if status is not None:
                report(f"the {name} exited unexpectedly with status {status}; restarting it (log: {self.log(name)})")
                restart()

    def stop(self, *, grace_s: float) -> None:
        """Stop both processes; they are killed after `grace_s` seconds, in which the worker drains its trainers."""
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + grace_s
        for process in reversed(list(self._processes.values())):
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _spawn(self, name: str, *command: str) -> None:
        with self.log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "embedded.child", str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environment,
                process_group=0,  # Ctrl-C reaches only the launcher, which stops them in order
            )

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


def interrupt(*_: object) -> None:
    """Signal handler with the effect of Ctrl-C.

    It does not raise SIGINT, because shells start background commands with SIGINT ignored.
    """
    raise KeyboardInterrupt


def is_loopback(host: str) -> bool:
    """Whether all addresses of a host are loopback addresses."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RuntimeError(
            f"cannot listen on {host!r}: it has no address ({error}); use an address of this machine"
        ) from None
    return all(ip_address(str(entry[4][0])).is_loopback for entry in found)


def in_address(host: str) -> str:
    """A host in URL notation; wildcard addresses become loopback addresses."""
    host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def free_port(host: str, wanted: int = 0) -> int:
    """A free port: `wanted` or one of the next 99; any free port for 0.

    Raises:
        RuntimeError: the host is not an address of this machine, or no port is free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    problem: OSError | None = None
    for port in range(wanted, min(wanted + 100, 2**16)):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the API does
            try:
                probe.bind((host, port))
                return int(probe.getsockname()[1])
            except OSError as error:
                problem = error
        if problem.errno not in (errno.EADDRINUSE, errno.EACCES):
            break
    raise RuntimeError(f"cannot listen on {host}: {problem}; use another --host or --port")
