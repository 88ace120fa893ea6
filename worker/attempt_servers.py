"""Model servers of one attempt: acquired before its trainer starts, released when it ends."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from store.artifacts.local import remove_here
from store.db import unit_of_work
from store.jobs import claims
from store.jobs.claims import Claim
from uniapl.estimate import choose_sampler, missing_vllm, refused_sampler
from uniapl.run.shared_memory import remove_abandoned
from uniapl.spec.backend import ServerRole
from uniapl.spec.estimate import Hardware
from uniapl.spec.job import JobSpec
from worker import process
from worker.failures import Failure, sidecar_failed
from worker.slots import WorkerProcess
from worker.vllm.command import plans
from worker.vllm.gpu_share import concurrent, other_card, room_beside_servers, shared_card, shares
from worker.vllm.server import ServerEvent, Sidecar

PROGRESS_S = 10.0


class AttemptServers:
    """A context manager that acquires the servers on entry and releases them on exit."""

    def __init__(self, worker: WorkerProcess, claim: Claim) -> None:
        self._worker, self._claim = worker, claim
        self._spec: JobSpec | None = None
        self.shared_card = False
        """Whether the sampling server uses the trainer's GPU; known inside the context."""
        self._news: list[ServerEvent] = []
        self._servers: dict[ServerRole, Sidecar] = {}
        self._reported: dict[ServerRole, int] = {}
        self._looked = self._began = time.monotonic()
        self._last_lines: dict[ServerRole, str] = {}
        self.trainer_room: tuple[int | None, bool] = None, False
        """`RunConfig.trainer_memory` and `RunConfig.awake_server`, from the entry on."""

    def __enter__(self) -> Self:
        run_dir = self._worker.artifacts.attempt(self._claim.job_id, self._claim.fence)
        models, here = self._claim.models, self._worker.hardware()
        spec = self._spec = self._with_sampler(here)
        self.trainer_room = room_beside_servers(spec, models, here.gpus)
        self.shared_card = "rollout" in spec.servers and shared_card(here.gpus)
        found = shares(spec, models, here.gpus) if spec.servers else {}
        converted = self._worker.artifacts.converted_models()
        at_once = concurrent(spec, models, here.gpus, found)
        wanted = plans(
            spec,
            models,
            run_dir,
            found,
            converted,
            shared_card=self.shared_card,
            other_card=other_card(here.gpus),
            concurrent=at_once,
        )
        self._servers = dict(zip(wanted, self._worker.sidecars.take(wanted.values()), strict=True))
        self._reported = {role: len(server.events) for role, server in self._servers.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.sidecars.give_back(self._servers.values())
        remove_here(self._worker.artifacts.handed_over(self._claim.job_id, self._claim.fence))
        remove_abandoned()

    def _with_sampler(self, here: Hardware) -> JobSpec:
        """The spec with its sampler on this worker; adds the event of a choice.

        Raises:
            VllmMissingError: the spec names a vLLM server, and this worker has no vLLM.
            SamplerRefusedError: the spec names the trainer's process, this worker samples by vLLM, and the run is new.
        """
        given, models = self._claim.spec, self._claim.models
        if (missing := missing_vllm(given, [here])) is not None:
            raise missing
        refused = None if self._claim.keeps_sampler else refused_sampler(given, models.__getitem__, [here])
        if refused is not None:
            raise refused
        chosen = choose_sampler(given, models.__getitem__, here)
        if given.rollout.backend is None and given.uses_rollouts:
            where = "by a vLLM server" if "rollout" in chosen.spec.servers else "in the trainer's process"
            self._news.append(ServerEvent("info", f"rollouts are sampled {where}: {chosen.reason}"))
        return chosen.spec

    @property
    def spec(self) -> JobSpec:
        """The job's spec, inside the context with its sampler."""
        return self._spec or self._claim.spec

    @property
    def addresses(self) -> dict[str, str]:
        """`RunConfig.servers`: files from which the trainer reads the servers' addresses."""
        return {role: str(server.address_file) for role, server in self._servers.items()}

    @property
    def awaited(self) -> bool:
        """Whether a server is starting, so that the trainer may be waiting for it."""
        return any(server.state == "starting" for server in self._servers.values())

    @property
    def failure(self) -> Failure | None:
        """The job's failure, once a server has used up its restarts."""
        for server in self._servers.values():
            if server.state == "failed":
                return sidecar_failed(f"the {server.plan.label} {server.problem}", process.tail(server.log))
        return None

    def add_events(self) -> None:
        """Add events for what happened to the servers, and for the last log line of one that is starting.

        Raises:
            FenceLost: the job is no longer this holder's.
        """
        known = {role: len(server.events) for role, server in self._servers.items()}  # news may arrive meanwhile
        events = [item for role in known for item in self._servers[role].events[self._reported[role] : known[role]]]
        events += self._progress()
        events = [*self._news, *events]
        if not events:
            return
        with unit_of_work(self._worker.engine) as session:
            for item in events:
                claims.add_event(session, self._claim, item.message, level=item.level, data=dict(item.data))
        self._reported, self._news = known, []

    def _progress(self) -> list[ServerEvent]:
        if time.monotonic() - self._looked < PROGRESS_S:
            return []
        self._looked = time.monotonic()
        events = []
        for role, server in self._servers.items():
            line = process.tail(server.log, lines=1)[-300:]
            if server.state == "starting" and line != self._last_lines.get(role, ""):
                self._last_lines[role] = line
                seconds = round(self._looked - self._began)
                message = f"waiting for the {server.plan.label}: {line}"
                events.append(ServerEvent("info", message, {"seconds": seconds, "log": line}))
        return events
