"""API, workers, database and broker as processes that can be broken one by one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from sqlalchemy import Engine, create_engine, text
from uniapl_client import Client

from embedded.service import EmbeddedService
from store.artifacts.paths import Artifacts
from store.db import make_engine
from store.states import TERMINAL
from store.tables import Job
from tests.conftest import MODELS, ROOT
from tests.e2e.conftest import CHANCE, trainers, wait_for
from tests.faults.invariants import Findings, check, lost_steps
from tests.faults.proxy import Proxy
from tests.faults.servers import Postgres, Redis
from tests.faults.trainer import STUDENT, weights_after

INJECT = ROOT / "tests" / "faults" / "inject"
LEASE_S = 4.0
PATIENCE = {
    "UNIAPL_LEASE_S": str(LEASE_S),
    "UNIAPL_HEARTBEAT_S": "0.5",
    "UNIAPL_SWEEP_S": "0.3",
    "UNIAPL_MEASURE_SPEED": "false",
    "UNIAPL_RETRY_BACKOFF_S": "0.1",
    "UNIAPL_DRAIN_S": "20",
    "HF_HUB_OFFLINE": "1",
    "UNIAPL_TEST_SCRIPTED": "1",
}


class Cluster(EmbeddedService):
    """The service with several workers; with `postgres`, over proxies to servers of its own.

    A context manager: every process ends with it.
    """

    def __init__(self, folder: Path, *, postgres: bool, environment: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        self.postgres: Postgres | None = None
        self.redis: Redis | None = None
        self.database_proxy: Proxy | None = None
        self.broker_proxy: Proxy | None = None
        self.accepted: set[str] = set()
        self.faults: dict[str, str] = {}
        """Environment of processes that are started from now on."""
        settings = {**PATIENCE, "PYTHONPATH": f"{ROOT}:{INJECT}", "UNIAPL_MODELS_FILE": str(_models(folder))}
        if postgres:
            settings |= self._servers(folder)
        super().__init__(folder / "data", environment={**settings, **(environment or {})})
        self.database_url = settings.get("UNIAPL_TEST_DIRECT_DATABASE", f"sqlite:///{self.data_dir / 'uniapl.db'}")

    def _servers(self, folder: Path) -> dict[str, str]:
        self.postgres, self.redis = Postgres(folder / "postgres"), Redis(folder)
        for server in (self.postgres, self.redis):
            self._stack.callback(server.kill)
            server.start()
        admin = create_engine(self.postgres.admin_url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE uniapl"))
        admin.dispose()
        self.database_proxy = self._stack.enter_context(Proxy(self.postgres.port))
        self.broker_proxy = self._stack.enter_context(Proxy(self.redis.port))
        base = "postgresql+psycopg://postgres@127.0.0.1:{}/uniapl?connect_timeout=3"
        return {
            "UNIAPL_DATABASE_URL": base.format(self.database_proxy.port),
            "UNIAPL_TEST_DIRECT_DATABASE": base.format(self.postgres.port),
            "UNIAPL_BROKER_URL": f"redis://127.0.0.1:{self.broker_proxy.port}/0",
        }

    def __enter__(self) -> Self:
        try:
            super().__enter__()
        except BaseException:
            self._stack.close()
            raise
        self.engine: Engine = make_engine(self.database_url)
        self.client = Client(self.url, api_key=self.api_key)
        self.dataset = self.client.datasets.upload(CHANCE).id
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.engine.dispose()
        for name in list(self._processes):
            self.go_on(name)
        super().__exit__(kind, error, trace)
        self._stack.close()

    @property
    def headers(self) -> dict[str, str]:
        """For requests that do not go through the SDK."""
        return {"authorization": f"Bearer {self.api_key}"}

    def start_worker(self, name: str = "worker") -> None:
        """Start one more worker process."""
        options = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-n", name]
        self._spawn(name, "celery", "-A", "worker.app", "worker", *options)

    def restart_dead(self, say: Callable[[str], None]) -> None:
        """The further workers too."""
        super().restart_dead(say)
        for name in self._processes.keys() - {"api", "worker"}:
            if self.has_ended(name):
                self.start_worker(name)

    def _spawn(self, name: str, *command: str) -> None:
        before, self._environment = self._environment, {**self._environment, **self.faults}
        super()._spawn(name, *command)
        self._environment = before

    def kill(self, name: str) -> None:
        """As a power cut would."""
        process = self._processes[name]
        process.kill()
        process.wait()

    def freeze(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        if not self.has_ended(name):
            os.kill(self.pid(name), signal.SIGCONT)

    def submit(self, *, steps: int = 20, checkpoint_every: int = 5, **fields: Any) -> str:
        """Queue a job for the scripted trainer; returns its id."""
        spec = {
            "student": STUDENT,
            "dataset_mix": [{"dataset": self.dataset, "role": "sft"}],
            "alpha": 1.0,
            "lambda_adv": 0.0,
            "schedule": {"steps": steps, "prompts_per_step": 1, "checkpoint_every": checkpoint_every},
        }
        job = self.client.jobs.create(**{**spec, **fields})
        self.accepted.add(job.id)
        return job.id

    def job(self, job_id: str) -> Job:
        """The row itself, whatever the API can say."""
        from store.db import reading

        with reading(self.engine) as session:
            return session.get_one(Job, job_id)

    def until(self, job_id: str, *states: str, step: int = 0, timeout_s: float = 60.0) -> Job:
        """Wait until the job is in one of the states, at least at that step."""

        def look() -> Job | None:
            job = self.job(job_id)
            return job if job.state in states and job.step >= step else None

        found: Job = wait_for(look, timeout_s=timeout_s)
        return found

    def finish(self, *job_ids: str, timeout_s: float = 90.0) -> list[Job]:
        """Wait until the jobs are over, in whatever way."""
        return [self.until(job_id, *TERMINAL, timeout_s=timeout_s) for job_id in job_ids]

    def trainer_of(self, job_id: str) -> psutil.Process:
        """The living trainer of a job."""

        def look() -> psutil.Process | None:
            found = [process for process in self.trainers() if job_id in " ".join(process.info["cmdline"])]
            return found[-1] if found else None

        process: psutil.Process = wait_for(look, timeout_s=30)
        return process

    def is_parent(self, worker: str, trainer: psutil.Process) -> bool:
        """Whether the worker has started this trainer, which may be gone."""
        try:
            return trainer.ppid() == self.pid(worker)
        except psutil.NoSuchProcess:
            return False

    def held_by(self, worker: str) -> list[str]:
        """Ids of the jobs whose trainers are this worker's children."""
        return [job_of(found) for found in self.trainers() if self.is_parent(worker, found)]

    def trainers(self) -> list[psutil.Process]:
        return trainers(self.data_dir)

    def findings(self) -> Findings:
        """Every invariant, with the results an uninterrupted run would have."""
        wait_for(lambda: not self.trainers(), timeout_s=15)
        return check(self.engine, self.data_dir, self.accepted, expected_weights)

    def lost_steps(self, job_id: str) -> int:
        """Steps that the worst of the job's attempts made in vain."""
        from store.db import reading

        with reading(self.engine) as session:
            return lost_steps(session, session.get_one(Job, job_id), Artifacts(self.data_dir))

    def messages(self, job_id: str) -> list[str]:
        """What the job's events say, from the database."""
        from store.db import reading
        from store.jobs import events

        with reading(self.engine) as session:
            return [event.message for event in events.after(session, job_id, 0, 10_000)]


def expected_weights(job: Job) -> bytes | None:
    """What the scripted trainer ends with when nothing interrupts it."""
    return weights_after(job.steps, job.spec["seed"]) if job.spec["student"] == STUDENT else None


def job_of(trainer: psutil.Process) -> str:
    """The id of the job that a process trains."""
    path = next(part for part in trainer.info["cmdline"] if part.endswith("run.json"))
    return Path(path).parent.parent.name


def settled(look: Callable[[], bool], quiet_s: float = 1.0) -> bool:
    """Whether something stays true for a while."""
    deadline = time.monotonic() + quiet_s
    while time.monotonic() < deadline:
        if not look():
            return False
        time.sleep(0.05)
    return True


def _models(folder: Path) -> Path:
    known = json.loads((ROOT / "models.json").read_text())
    registry = {name: {**entry, "path": str(ROOT / entry["path"])} for name, entry in known.items()}
    registry[STUDENT] = {"kind": "student", "path": str(MODELS / "tiny-random-llama")}
    path = folder / "models.json"
    path.write_text(json.dumps(registry))
    return path
