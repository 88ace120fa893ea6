"""Eight processes take a thousand jobs from one database, and some of them die: no job is lost or done twice."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, insert, select

from store.db import unit_of_work
from store.states import State
from store.tables import Attempt, Event, Job
from tests.store.jobs import claimer
from tests.store.jobs.factories import make_job

pytestmark = pytest.mark.integration

CLAIMERS = 8
DYING = len(claimer.DIE_AT)


@pytest.mark.parametrize(("number", "lease_s"), [(60, 1.0), pytest.param(1000, 3.0, marks=pytest.mark.faults)])
def test_whichever_claimers_die_every_job_succeeds_exactly_once(
    engine: Engine, database_url: str, tmp_path: Path, number: int, lease_s: float
) -> None:
    make_jobs(engine, number)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([claimer.__name__])
    started = time.monotonic()
    processes = []
    for index in range(CLAIMERS):
        die_at = claimer.DIE_AT[index] if index < DYING else None
        told = tmp_path / f"{index}.json"
        arguments = (database_url, f"worker_{index}", lease_s, told, die_at, number // 40, index == DYING)
        processes.append(context.Process(target=claimer.main, args=arguments))
    at_once = CLAIMERS if number >= 1000 else DYING + 1  # of a few jobs none may be left for those who are to die
    for process in processes[:at_once]:
        process.start()
    for process in processes[:DYING]:
        process.join(timeout=600)
    for process in processes[at_once:]:
        process.start()
    for process in processes[DYING:]:
        process.join(timeout=600)
    took = time.monotonic() - started
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * DYING + [0] * (CLAIMERS - DYING)

    told = [json.loads((tmp_path / f"{index}.json").read_text()) for index in range(DYING, CLAIMERS)]
    slowest = max(each["slowest"] for each in told)
    print(f"\n{engine.dialect.name}: {number} jobs in {took:.1f} s, slowest transaction {slowest:.2f} s, {told}")
    assert told[0]["lost"] >= 1  # it slept through its lease
    assert slowest < 25
    if number >= 1000:  # of a few, one that stalls for a moment gets none
        assert min(each["finished"] for each in told[1:]) >= number // 20  # nobody starved
    with unit_of_work(engine) as session:
        states = session.execute(select(Job.state, func.count()).group_by(Job.state)).all()
        assert [tuple(row) for row in states] == [(State.SUCCEEDED, number)]
        for job in session.scalars(select(Job)).all():
            events = session.scalars(select(Event).where(Event.job_id == job.id).order_by(Event.seq)).all()
            moves = [event.data["state"] for event in events if event.type == "state"]
            assert moves.count(State.SUCCEEDED) == 1
            assert moves[-1] == State.SUCCEEDED
            assert moves.count(State.STARTING) == job.attempt
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert events[-1].fence == job.fence
        again = session.scalar(select(func.sum(Job.attempt - 1))) or 0
        assert again >= DYING + 1  # those who died or slept each cost one attempt
        done = select(func.count()).select_from(Attempt).where(Attempt.exit_kind == "done")
        assert session.scalar(done) == number


def make_jobs(engine: Engine, number: int) -> None:
    """One as it is made, and copies of it: to make a thousand takes longer than to finish them."""
    first = make_job(engine)
    with unit_of_work(engine) as session:
        row = session.execute(select(Job.__table__).where(Job.id == first)).mappings().one()
        event = session.execute(select(Event.__table__).where(Event.job_id == first)).mappings().one()
        ids = [f"{first}_{index}" for index in range(1, number)]
        session.execute(insert(Job), [{**row, "id": job_id} for job_id in ids])
        session.execute(insert(Event), [{**event, "job_id": job_id} for job_id in ids])
