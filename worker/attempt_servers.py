"""The servers of one attempt: taken before its trainer starts, watched with it, given back when it ends."""

from __future__ import annotations

import shutil
import time
from types import TracebackType
from typing import Self

from store.db import unit_of_work
from store.jobs import claims
from store.jobs.claims import Claim
from uniapl.spec.backend import ServerRole
from uniapl.spec.estimate import Gpu
from worker import hardware, process
from worker.failures import Failure, sidecar_failed
from worker.slots import WorkerProcess
from worker.vllm.command import plans
from worker.vllm.gpu_share import shares
from worker.vllm.server import ServerEvent, Sidecar

PROGRESS_S = 10.0


class AttemptServers:
    """A context manager around an attempt."""

    def __init__(self, worker: WorkerProcess, claim: Claim) -> None:
        self._worker, self._claim = worker, claim
        self._servers: dict[ServerRole, Sidecar] = {}
        self._told: dict[ServerRole, int] = {}
        self._looked = self._began = time.monotonic()
        self._last_lines: dict[ServerRole, str] = {}

    def __enter__(self) -> Self:
        run_dir = self._worker.artifacts.attempt(self._claim.job_id, self._claim.fence)
        spec, models = self._claim.spec, self._claim.models
        gpus = hardware.gpus(self._worker.settings) if spec.servers else []
        wanted = plans(spec, models, run_dir, shares(spec, models, [Gpu.model_validate(gpu) for gpu in gpus]))
        self._servers = dict(zip(wanted, self._worker.sidecars.take(wanted.values()), strict=True))
        self._told = {role: len(server.news) for role, server in self._servers.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.sidecars.give_back(self._servers.values())
        shutil.rmtree(self._worker.artifacts.handed_over(self._claim.job_id, self._claim.fence), ignore_errors=True)

    @property
    def addresses(self) -> dict[str, str]:
        """`RunConfig.servers`: where a trainer reads their addresses."""
        return {role: str(server.address_file) for role, server in self._servers.items()}

    @property
    def awaited(self) -> bool:
        """Whether the trainer may be waiting for one of them."""
        return any(server.state == "starting" for server in self._servers.values())

    @property
    def failure(self) -> Failure | None:
        """What the job fails with, once one of them has been started again too often."""
        for server in self._servers.values():
            if server.state == "failed":
                return sidecar_failed(f"{server.plan.label} {server.problem}", process.tail(server.log))
        return None

    def report_news(self) -> None:
        """Make events of what has happened, and while one starts, of the last line of its log.

        Raises:
            FenceLost: the job is no longer this holder's.
        """
        known = {role: len(server.news) for role, server in self._servers.items()}  # it may grow meanwhile
        news = [item for role in known for item in self._servers[role].news[self._told[role] : known[role]]]
        news += self._progress()
        if not news:
            return
        with unit_of_work(self._worker.engine) as session:
            for item in news:
                claims.add_event(session, self._claim, item.message, level=item.level, data=dict(item.data))
        self._told = known

    def _progress(self) -> list[ServerEvent]:
        if time.monotonic() - self._looked < PROGRESS_S:
            return []
        self._looked = time.monotonic()
        news = []
        for role, server in self._servers.items():
            line = process.tail(server.log, lines=1)[-300:]
            if server.state == "starting" and line != self._last_lines.get(role, ""):
                self._last_lines[role] = line
                seconds = round(self._looked - self._began)
                told = f"waiting for {server.plan.label}: {line}"
                news.append(ServerEvent("info", told, {"seconds": seconds, "log": line}))
        return news
