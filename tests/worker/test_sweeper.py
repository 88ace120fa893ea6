"""When a sweeper may reap: not after an outage that cut off the holders too."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from store.db import now, unit_of_work
from store.jobs import lifecycle
from store.settings import Settings
from store.tables import Job
from tests.store.jobs.factories import make_job, try_claim
from worker import sweeper
from worker.slots import WorkerProcess
from worker.sweeper import Sweeper

pytestmark = pytest.mark.integration

LEASE_S = 90.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sweeper, "time", clock)
    return clock


@pytest.fixture
def silent(engine: Engine) -> str:
    """A job whose holder's lease has run out."""
    job_id = make_job(engine)
    assert try_claim(engine, job_id) is not None
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(lease_expires_at=now() - 1))
    return job_id


@pytest.fixture
def sweeping(engine: Engine, tmp_path: Path, clock: Clock) -> Sweeper:
    worker = WorkerProcess(Settings(data_dir=tmp_path, lease_s=LEASE_S, sweep_s=5.0, retry_backoff_s=3600), engine)
    worker.stopping.set()  # it takes no jobs
    return Sweeper(worker)


def sweep_for(sweeping: Sweeper, clock: Clock, seconds: float) -> None:
    for _ in range(int(seconds / 5)):
        clock.now += 5
        sweeping.sweep()


def state(engine: Engine, job_id: str) -> str:
    with unit_of_work(engine) as session:
        return lifecycle.get(session, job_id).state


def test_a_newcomer_waits_for_a_lease_before_it_reaps(
    engine: Engine, sweeping: Sweeper, clock: Clock, silent: str
) -> None:
    sweep_for(sweeping, clock, LEASE_S - 5)
    assert state(engine, silent) == "starting"
    sweep_for(sweeping, clock, 5)
    assert state(engine, silent) == "retry_wait"


def test_after_a_silence_of_the_database_it_is_a_newcomer_again(
    engine: Engine, sweeping: Sweeper, clock: Clock, silent: str
) -> None:
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(lease_expires_at=now() + 1000))
    sweep_for(sweeping, clock, LEASE_S * 2)
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(lease_expires_at=now() - 1))
    clock.now += LEASE_S  # every question of this time went unanswered, the holder's too
    sweeping.sweep()
    sweep_for(sweeping, clock, LEASE_S - 5)
    assert state(engine, silent) == "starting"
    sweep_for(sweeping, clock, 5)
    assert state(engine, silent) == "retry_wait"


def test_it_reaps_nobody_when_the_very_question_was_late(
    engine: Engine, sweeping: Sweeper, clock: Clock, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(lease_expires_at=now() + 1000))
    sweep_for(sweeping, clock, LEASE_S * 2)
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(lease_expires_at=now() - 1))
    expired = lifecycle.expired

    def late(*args: object) -> object:
        clock.now += LEASE_S
        return expired(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "expired", late)
        clock.now += 5
        sweeping.sweep()
    assert state(engine, silent) == "starting"


def test_a_failed_round_makes_a_newcomer(
    engine: Engine, sweeping: Sweeper, clock: Clock, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[float] = []

    def broken() -> None:
        rounds.append(clock.now)
        sweeping._worker.stopping.set()
        raise RuntimeError("the database went away")

    with unit_of_work(engine) as session:
        session.execute(update(Job).values(lease_expires_at=now() + 1000))
    sweep_for(sweeping, clock, LEASE_S * 2)
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(lease_expires_at=now() - 1))
    monkeypatch.setattr(sweeping, "sweep", broken)
    sweeping._worker.stopping.clear()
    sweeping.run()
    monkeypatch.undo()
    monkeypatch.setattr(sweeper, "time", clock)
    assert len(rounds) == 1
    sweep_for(sweeping, clock, LEASE_S - 5)
    assert state(engine, silent) == "starting"
