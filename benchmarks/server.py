"""An API process for measurements."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from store.access import api_keys, keyring
from store.db import make_engine, unit_of_work
from store.migrate import upgrade
from store.settings import Settings
from store.tenants import DEFAULT


class Api:
    """The API with one or several processes, and a key of the default tenant."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, processes: int = 1) -> None:
        """
        Args:
            settings: environment variables; SQLite in `folder` by default.
            processes: number of processes on the port.
        """
        given = {"UNIAPL_DATA_DIR": str(folder), **(settings or {})}
        prefix = len("UNIAPL_")
        known = Settings.model_validate({name[prefix:].lower(): value for name, value in given.items()})
        upgrade(known)
        with unit_of_work(make_engine(known.database)) as session:
            _, key = api_keys.create(session, keyring.load(known), tenant=DEFAULT, name="benchmark")
        self.settings, self.processes = known, processes
        self.headers = {"authorization": f"Bearer {key}"}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        uvicorn = ["uvicorn", "--factory", "api.main:create_app", "--log-level", "warning", "--no-access-log"]
        several = [*uvicorn, "--workers", str(processes)]
        command = [sys.executable, "-m", *(several if processes > 1 else ["api"]), "--port", str(self.port)]
        self.process = subprocess.Popen(command, env=os.environ | {"UNIAPL_LOG_LEVEL": "WARNING"} | given)
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=None, headers=self.headers, trust_env=False)
        while True:
            try:
                self.http.get("/healthz")
                break
            except httpx.ConnectError:
                time.sleep(0.1)

    def close(self) -> None:
        """Terminate the API."""
        self.http.close()
        self.process.terminate()
        self.process.wait()

    def peak(self) -> int:
        """Peak resident memory since `forget_peak`, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def forget_peak(self) -> None:
        """Reset the peak."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
