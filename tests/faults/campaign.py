"""The faults of a campaign: each breaks one thing, and heals it or leaves that to the service."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
from sqlalchemy import select
from uniapl_client.errors import UniaplClientError

from store.db import IDLE_MS, reading
from store.jobs.lifecycle import INFRA_LIMIT
from store.states import ACTIVE, State
from store.tables import Checkpoint, Job
from tests.faults.cluster import LEASE_S, Cluster, job_of


@dataclass(frozen=True)
class Fault:
    """One entry of the schedule; drawn in full before the campaign begins, so that the seed reproduces it."""

    kind: str
    pick: float
    """Which victim, as a share of those there are."""
    lasts_s: float
    """For faults that last."""
    pause_s: float
    """Before the next one."""


PATIENCE_S = 60.0
"""So long a fault waits for a victim."""


RESERVE = 8
"""Failures that a job is left for faults that strike whatever is there: a full disk alone may cost several."""


class Victim(NamedTuple):
    """A job in training."""

    job: Job
    trainer: psutil.Process
    worker: str


WEIGHTS = {
    "kill-trainer": 8, "kill-worker": 6, "kill-api": 3, "freeze-worker": 3, "freeze-trainer": 2, "drain-worker": 3,
    "pause-job": 3, "fill-disk": 3,
}  # fmt: skip
WITH_SERVERS = {
    "stop-database": 3, "kill-database": 2, "cut-database": 4, "cut-in-commit": 4, "hold-database": 2,
    "kill-broker": 3, "cut-broker": 3,
}  # fmt: skip


def schedule(faults: int, seed: int, *, servers: bool) -> list[Fault]:
    """The campaign of a seed; with `servers`, those of Postgres and Redis too."""
    draw = random.Random(seed)
    kinds = WEIGHTS | (WITH_SERVERS if servers else {})
    names, weights = list(kinds), list(kinds.values())
    return [
        Fault(draw.choices(names, weights)[0], draw.random(), draw.uniform(0.5, 2.5), draw.uniform(0.1, 1.0))
        for _ in range(faults)
    ]


class Breaker:
    """Strikes a cluster. `struck` counts what really happened, by kind."""

    def __init__(self, cluster: Cluster, workers: Sequence[str], disk: Path | None) -> None:
        self._cluster, self._workers, self._disk = cluster, workers, disk
        self.struck: dict[str, int] = {}
        self.zombies = 0
        """Frozen workers that woke when another had their job."""
        self.skipped: dict[str, int] = {}
        """Faults that cannot be had here."""

    def strike(self, fault: Fault) -> None:
        """Break, and heal what does not heal itself."""
        if fault.kind == "fill-disk" and self._disk is None:
            self.skipped[fault.kind] = self.skipped.get(fault.kind, 0) + 1
            return
        getattr(self, "_" + fault.kind.replace("-", "_"))(fault)
        self.struck[fault.kind] = self.struck.get(fault.kind, 0) + 1
        time.sleep(fault.pause_s)
        self._cluster.restart_dead(lambda text: None)

    def _victim(self, fault: Fault) -> Victim | None:
        """A job whose attempt has made a checkpoint of its own, on a worker all of whose jobs may fail again.

        Three failures in a row without a new checkpoint end a job, as they should, and so do twenty of the machines
        in all; a campaign that aims at the same job again and again would show nothing else.
        """
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            jobs = {job.id: job for job in self._progressing()}
            found = [
                Victim(jobs[job_of(trainer)], trainer, worker)
                for trainer in self._cluster.trainers()
                for worker in self._workers
                if job_of(trainer) in jobs and self._cluster.is_parent(worker, trainer) and self._spared(worker)
            ]
            if found:
                return found[int(fault.pick * len(found))]
            time.sleep(0.1)
        return None

    def _spared(self, worker: str) -> bool:
        held = [self._cluster.job(job_id) for job_id in self._cluster.held_by(worker)]
        return all(job.fruitless_attempts == 0 and job.infra_failures < INFRA_LIMIT - RESERVE for job in held)

    def _progressing(self) -> Sequence[Job]:
        with reading(self._cluster.engine) as session:
            made = select(Checkpoint.id).where(Checkpoint.job_id == Job.id, Checkpoint.fence == Job.fence).exists()
            return session.scalars(select(Job).where(Job.state == State.RUNNING, made)).all()

    def _busy_worker(self, fault: Fault) -> str:
        """One that holds a job with progress of its own, else any."""
        victim = self._victim(fault)
        return victim.worker if victim is not None else self._workers[int(fault.pick * len(self._workers))]

    def _kill_trainer(self, fault: Fault) -> None:
        self._signal_trainer(fault, signal.SIGKILL)

    def _kill_worker(self, fault: Fault) -> None:
        self._cluster.kill(self._busy_worker(fault))

    def _kill_api(self, fault: Fault) -> None:
        self._cluster.kill("api")

    def _freeze_worker(self, fault: Fault) -> None:
        """Stop a worker until another one has claimed its job, so that it wakes as a zombie, or until a time limit."""
        name = self._busy_worker(fault)
        self._cluster.freeze(name)
        held = [self._cluster.job(job_id) for job_id in self._cluster.held_by(name)]
        deadline = time.monotonic() + IDLE_MS / 1000 + LEASE_S + 20  # it may have been frozen inside a transaction
        while time.monotonic() < deadline and held and not any(self._taken(job) for job in held):
            time.sleep(0.1)
        self.zombies += any(self._taken(job) for job in held)
        time.sleep(2 + fault.lasts_s)  # the new trainer is at work
        self._cluster.go_on(name)

    def _taken(self, held: Job) -> bool:
        """Whether another claim has taken the job."""
        now = self._cluster.job(held.id)
        return now.fence > held.fence and now.state in ACTIVE

    def _freeze_trainer(self, fault: Fault) -> None:
        self._signal_trainer(fault, signal.SIGSTOP)  # the watchdog's business

    def _signal_trainer(self, fault: Fault, number: signal.Signals) -> None:
        victim = self._victim(fault)
        if victim is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.trainer.send_signal(number)

    def _drain_worker(self, fault: Fault) -> None:
        os.kill(self._cluster.pid(self._busy_worker(fault)), signal.SIGTERM)
        time.sleep(fault.lasts_s)

    def _pause_job(self, fault: Fault) -> None:
        victim = self._victim(fault)
        if victim is not None:
            try:
                self._cluster.client.jobs.pause(victim.job.id)
                time.sleep(fault.lasts_s)
                self._cluster.client.jobs.resume(victim.job.id)
            except UniaplClientError:  # it has just ended, or the API is still coming up; healing resumes it
                pass

    def _stop_database(self, fault: Fault) -> None:
        assert self._cluster.postgres is not None
        self._cluster.postgres.stop_at_once()
        time.sleep(fault.lasts_s * 3)  # sometimes longer than a lease
        self._cluster.postgres.start()

    def _kill_database(self, fault: Fault) -> None:
        assert self._cluster.postgres is not None
        self._cluster.postgres.kill()
        time.sleep(fault.lasts_s)
        self._cluster.postgres.start()

    def _cut_database(self, fault: Fault) -> None:
        assert self._cluster.database_proxy is not None
        self._cluster.database_proxy.cut()

    def _cut_in_commit(self, fault: Fault) -> None:
        assert self._cluster.database_proxy is not None
        before = self._cluster.database_proxy.triggered
        self._cluster.database_proxy.cut_after_request(b"COMMIT")
        deadline = time.monotonic() + 5
        while self._cluster.database_proxy.triggered == before and time.monotonic() < deadline:
            time.sleep(0.02)

    def _hold_database(self, fault: Fault) -> None:
        assert self._cluster.database_proxy is not None
        self._cluster.database_proxy.hold()
        time.sleep(fault.lasts_s)
        self._cluster.database_proxy.release()

    def _kill_broker(self, fault: Fault) -> None:
        assert self._cluster.redis is not None
        self._cluster.redis.kill()
        time.sleep(fault.lasts_s)
        self._cluster.redis.start()

    def _cut_broker(self, fault: Fault) -> None:
        assert self._cluster.broker_proxy is not None
        self._cluster.broker_proxy.refuse()
        time.sleep(fault.lasts_s)
        self._cluster.broker_proxy.accept()

    def _fill_disk(self, fault: Fault) -> None:
        assert self._disk is not None
        filler = self._disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        time.sleep(fault.lasts_s)
        filler.unlink()
