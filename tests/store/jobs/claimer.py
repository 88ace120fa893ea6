"""One of several processes that take jobs from the same database; run by `test_claimers` in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.checkpoints import repository as checkpoints
from store.db import make_engine, reading, unit_of_work
from store.errors import FenceLost
from store.jobs import claims, lifecycle
from store.jobs.claims import Claim
from store.states import TERMINAL
from store.tables import Job
from tests.store.jobs import sweeping

ROUND = 20
"""Jobs to try between two sweeps."""
T = TypeVar("T")
DIE_AT = ("claimed", "begun", "saved", "succeeding")
"""Where a claimer can be killed; at the last with its transaction open."""


class Claimer:
    """Claims, finishes and reaps until every job has ended."""

    def __init__(self, url: str, name: str, lease_s: float) -> None:
        self._engine = make_engine(url)
        self._name = name
        self._lease_s = lease_s
        self.finished = 0
        self.lost = 0
        self.slowest = 0.0
        """Of all its transactions, with the wait for the database's lock, in seconds."""

    def run(self, die_at: str | None, die_after: int, sleeps: bool) -> None:
        """Run until every job has ended, or, having finished `die_after` jobs, to its death at the point `die_at`."""
        while True:
            self._transact(lambda session: sweeping.sweep(session, 0.0))
            with reading(self._engine) as session:
                waiting = lifecycle.queued(session)
                over = session.scalar(select(Job.id).where(Job.state.not_in(TERMINAL)).limit(1)) is None
            if over:
                return
            for job_id in waiting[:ROUND]:
                claim = self._transact(lambda session, job_id=job_id: self._claim(session, job_id))  # type: ignore[misc]
                if claim is not None:
                    last = self.finished == die_after
                    with suppress(FenceLost):
                        self._finish(claim, die_at if last else None, sleeps=last and sleeps)
                        self.finished += 1
                        continue
                    self.lost += 1
            if not waiting:
                time.sleep(0.02)

    def _claim(self, session: Session, job_id: str) -> Claim | None:
        return lifecycle.claim(session, job_id, owner=self._name, host="h", boot_id=self._name, lease_s=self._lease_s)

    def _finish(self, claim: Claim, die_at: str | None, *, sleeps: bool) -> None:
        if die_at == "claimed":
            die()
        if sleeps:
            while self._mine(claim):  # until another has taken it
                time.sleep(0.05)
        self._transact(lambda session: lifecycle.begin(session, claim))
        if die_at == "begun":
            die()
        self._transact(lambda session: self._save(session, claim))
        if die_at == "saved":
            die()
        with unit_of_work(self._engine) as session:
            lifecycle.succeed(session, claim)
            if die_at == "succeeding":
                die()
            claims.end_attempt(session, claim.job_id, claim.fence, "done", relay_closed=True)

    def _mine(self, claim: Claim) -> bool:
        with reading(self._engine) as session:
            return session.scalar(select(Job.fence).where(Job.id == claim.job_id)) == claim.fence

    def _save(self, session: Session, claim: Claim) -> None:
        claims.update_job(session, claim)
        step = claim.spec.schedule.steps
        checkpoints.commit(session, claim.job_id, claim.fence, step=step, path="p", manifest_sha256="x", size=1)
        claims.update_job(session, claim, step=step, fruitless_attempts=0)
        claims.add_event(session, claim, f"checkpoint saved at step {step}")

    def _transact(self, action: Callable[[Session], T]) -> T:
        started = time.monotonic()
        with unit_of_work(self._engine) as session:
            result = action(session)
        self.slowest = max(self.slowest, time.monotonic() - started)
        return result


def die() -> None:
    """As `kill -9` does it."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(url: str, name: str, lease_s: float, told: Path, die_at: str | None, die_after: int, sleeps: bool) -> None:
    """One process; writes what it has done into the file `told`."""
    claimer = Claimer(url, name, lease_s)
    claimer.run(die_at, die_after, sleeps)
    told.write_text(json.dumps({"finished": claimer.finished, "lost": claimer.lost, "slowest": claimer.slowest}))
