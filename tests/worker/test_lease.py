"""A lease shows how long no other worker can have claimed the job, and when one has."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import OperationalError

from store.db import now, unit_of_work
from store.errors import FenceLost
from store.jobs import claims, lifecycle
from store.tables import Job
from tests.e2e.conftest import wait_for
from tests.store.jobs.factories import claimed, make_job
from worker.lease import MARGIN, Lease

pytestmark = pytest.mark.integration


def expires_in(engine: Engine, job_id: str) -> float:
    with unit_of_work(engine) as session:
        return session.execute(select(Job.lease_expires_at - now()).where(Job.id == job_id)).scalar_one() or 0.0


def test_a_heartbeat_renews_the_lease(engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    with Lease(engine, claim, lease_s=30, heartbeat_s=0.05) as lease:
        with unit_of_work(engine) as session:
            session.execute(update(Job).values(lease_expires_at=now() + 1))
        wait_for(lambda: expires_in(engine, claim.job_id) > 25, timeout_s=10)
        assert lease.certain
        lease.check()


def test_a_holder_that_cannot_renew_counts_on_its_lease_no_longer_than_it_may(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(engine, make_job(engine))
    began = time.monotonic()
    lease = Lease(engine, claim, lease_s=2.0, heartbeat_s=0.05)

    def broken(*_: object) -> None:
        raise OperationalError("UPDATE", {}, Exception("the database went away"))

    with monkeypatch.context() as patch:
        patch.setattr(claims, "renew", broken)
        with lease:
            wait_for(lambda: not lease.certain, timeout_s=10)
            assert time.monotonic() - began >= 2.0 * (1 - MARGIN)
            assert not lease.lost.is_set()  # disconnected is not lost: the trainer continues
            lease.check()
            patch.undo()
            wait_for(lambda: lease.certain, timeout_s=10)


def test_the_lease_counts_from_before_the_question(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claimed(engine, make_job(engine))
    asked: list[float] = []
    over = threading.Event()

    def slow(*_: object) -> None:
        asked.append(time.monotonic())
        over.wait(60 if len(asked) > 1 else 0.05)  # the second has no answer before we have looked

    monkeypatch.setattr(claims, "renew", slow)
    with Lease(engine, claim, lease_s=60, heartbeat_s=0.01) as lease:
        try:
            wait_for(lambda: len(asked) == 2, timeout_s=60)
            renewed = lease._renewed
        finally:
            over.set()
    assert renewed <= asked[0]


def test_a_holder_hears_that_its_job_was_taken(engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    with unit_of_work(engine) as session:
        lifecycle.preempt(session, claim, "stopping")
    taken = claimed(engine, claim.job_id)
    with Lease(engine, claim, lease_s=30, heartbeat_s=0.05) as lease:
        assert lease.lost.wait(10)
        with pytest.raises(FenceLost):
            lease.check()
    with Lease(engine, taken, lease_s=30, heartbeat_s=0.05) as lease:
        time.sleep(0.3)
        lease.check()


def test_nothing_beats_after_the_end(engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    with Lease(engine, claim, lease_s=30, heartbeat_s=0.05):
        pass
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(lease_expires_at=now() + 1))
    time.sleep(0.3)
    assert expires_in(engine, claim.job_id) < 1
