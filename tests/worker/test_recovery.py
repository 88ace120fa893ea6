"""What an earlier attempt could not hand in is handed in by the next: reports, checkpoints, and its trainer's end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from store.checkpoints import repository as checkpoints
from store.db import unit_of_work
from store.errors import FenceLost
from store.jobs import claims, events, lifecycle, metrics
from store.jobs.claims import Claim
from store.settings import Settings
from store.tables import Attempt, Job
from tests.store.jobs.factories import ERROR, make_job
from uniapl.run import manifest
from uniapl.run.manifest import SavedCheckpoint
from uniapl.run.reporter import Reporter
from worker import process, recovery
from worker.slots import WorkerProcess

pytestmark = pytest.mark.integration


@pytest.fixture
def worker(engine: Engine, tmp_path: Path) -> WorkerProcess:
    return WorkerProcess(Settings(data_dir=tmp_path), engine)


def claim_again(worker: WorkerProcess, job_id: str) -> Claim:
    with unit_of_work(worker.engine) as session:
        claim = lifecycle.claim(
            session, job_id, owner=worker.owner, host=process.HOST, boot_id=process.boot_id(), lease_s=60
        )
    assert claim is not None
    return claim


def lose(worker: WorkerProcess, claim: Claim) -> None:
    """The holder falls silent, is reaped, and its retry is due."""
    with unit_of_work(worker.engine) as session:
        lifecycle.retry_or_fail(session, claim.job_id, claim.fence, ERROR, 0.0)
        lifecycle.requeue_due(session)


def publish(worker: WorkerProcess, claim: Claim, step: int) -> SavedCheckpoint:
    folder = worker.artifacts.checkpoints(claim.job_id, claim.fence)
    return manifest.publish(folder, step, lambda path: (path / "model.bin").write_text(f"step {step}") and None, {})


def report(worker: WorkerProcess, claim: Claim, steps: range, *saved: SavedCheckpoint) -> None:
    with Reporter(worker.artifacts.reports(claim.job_id, claim.fence)) as reporter:
        for step in steps:
            reporter.metrics(step, {"loss": step + claim.fence / 10})
        for checkpoint in saved:
            reporter.checkpoint(checkpoint.step, checkpoint.path, checkpoint.manifest_sha256, checkpoint.bytes)


def told(worker: WorkerProcess, job_id: str) -> list[str]:
    with unit_of_work(worker.engine) as session:
        return [event.message for event in events.after(session, job_id, 0, 1000)]


def losses(worker: WorkerProcess, job_id: str) -> list[tuple[int, float]]:
    with unit_of_work(worker.engine) as session:
        found = metrics.metrics(session, job_id, names=["loss"], since_step=-1, limit=1000)
        return [(metric.step, metric.value) for metric in found]


def saved_steps(worker: WorkerProcess, job_id: str) -> list[tuple[int, int]]:
    with unit_of_work(worker.engine) as session:
        return [(row.step, row.fence) for row in checkpoints.of_job(session, job_id)]


def closed(worker: WorkerProcess, job_id: str) -> list[bool]:
    with unit_of_work(worker.engine) as session:
        query = select(Attempt.relay_closed).where(Attempt.job_id == job_id).order_by(Attempt.fence)
        return list(session.scalars(query))


def test_reports_of_several_earlier_attempts_are_replayed_in_order(worker: WorkerProcess, engine: Engine) -> None:
    first = claim_again(worker, make_job(engine))
    report(worker, first, range(1, 6), publish(worker, first, 5))
    lose(worker, first)
    second = claim_again(worker, first.job_id)
    report(worker, second, range(4, 9), publish(worker, second, 8))
    lose(worker, second)
    third = claim_again(worker, first.job_id)
    recovery.recover_previous_attempts(worker, third)
    assert losses(worker, first.job_id) == [(s, s + 0.1) for s in (1, 2, 3)] + [(s, s + 0.2) for s in range(4, 9)]
    assert saved_steps(worker, first.job_id) == [(8, 2), (5, 1)]
    assert closed(worker, first.job_id) == [True, True, False]
    before = told(worker, first.job_id)
    recovery.recover_previous_attempts(worker, third)
    assert told(worker, first.job_id) == before


def test_a_checkpoint_that_was_whole_but_unreported_is_adopted(worker: WorkerProcess, engine: Engine) -> None:
    first = claim_again(worker, make_job(engine))
    reported, unreported = publish(worker, first, 2), publish(worker, first, 4)
    report(worker, first, range(1, 5), reported)
    lose(worker, first)
    with unit_of_work(engine) as session:
        assert session.get_one(Job, first.job_id).fruitless_attempts == 1
    second = claim_again(worker, first.job_id)
    recovery.recover_previous_attempts(worker, second)
    assert saved_steps(worker, first.job_id) == [(4, 1), (2, 1)]
    assert "unreported checkpoint at step 4 recovered" in told(worker, first.job_id)
    with unit_of_work(engine) as session:
        point = recovery.resume_point(worker, second, session)
        assert point is not None
        assert (point.step, point.manifest_sha256, point.bytes) == (4, unreported.manifest_sha256, unreported.bytes)
        assert session.get_one(Job, first.job_id).fruitless_attempts == 0
        assert session.get_one(Attempt, (first.job_id, 2)).resumed_from == point.id


@pytest.mark.parametrize(("unreported", "lost"), [([], [5]), ([4], [3])], ids=["reported", "found on disk"])
def test_what_a_lost_attempt_costs_is_counted_once_all_that_it_left_is_known(
    worker: WorkerProcess, engine: Engine, unreported: list[int], lost: list[int]
) -> None:
    first = claim_again(worker, make_job(engine))
    report(worker, first, range(1, 8), publish(worker, first, 2))  # nothing of it was relayed
    for step in unreported:
        publish(worker, first, step)
    lose(worker, first)
    second = claim_again(worker, first.job_id)
    recovery.recover_previous_attempts(worker, second)
    for _ in range(2):
        with unit_of_work(engine) as session:
            recovery.resume_point(worker, second, session)
    with unit_of_work(engine) as session:
        found = [event.data for event in events.after(session, first.job_id, 0, 1000)]
    assert [data["lost_steps"] for data in found if "lost_steps" in data] == lost


def test_a_torn_checkpoint_is_not_adopted_but_removed(worker: WorkerProcess, engine: Engine) -> None:
    first = claim_again(worker, make_job(engine))
    whole, torn, bare = (publish(worker, first, step) for step in (1, 2, 3))
    (torn.path / "model.bin").write_text("step X")
    (bare.path / "manifest.json").unlink()
    lose(worker, first)
    second = claim_again(worker, first.job_id)
    recovery.recover_previous_attempts(worker, second)
    assert saved_steps(worker, first.job_id) == [(1, 1)]
    assert whole.path.exists()
    assert not torn.path.exists()
    assert not bare.path.exists()


def test_a_checkpoint_that_was_deleted_is_not_taken_over_again(worker: WorkerProcess, engine: Engine) -> None:
    first = claim_again(worker, make_job(engine))
    report(worker, first, range(1, 3), publish(worker, first, 2))
    lose(worker, first)
    second = claim_again(worker, first.job_id)
    recovery.recover_previous_attempts(worker, second)
    with unit_of_work(engine) as session:
        checkpoints.mark_deleted(session, checkpoints.of_job(session, first.job_id)[0])
        claims.update_attempt(session, first.job_id, first.fence, relay_closed=False)
    recovery.recover_previous_attempts(worker, second)
    assert saved_steps(worker, first.job_id) == []


def test_the_resume_point_is_the_newest_that_is_there_and_the_job_is_told_of_the_others(
    worker: WorkerProcess, engine: Engine
) -> None:
    first = claim_again(worker, make_job(engine))
    saved = [publish(worker, first, step) for step in (2, 3, 4)]
    with unit_of_work(engine) as session:
        for found in saved:
            recovery._adopt(worker, first, first.fence, found, session)
    lose(worker, first)
    second = claim_again(worker, first.job_id)
    (saved[2].path / "model.bin").write_text("st")
    (saved[1].path / "manifest.json").unlink()
    with unit_of_work(engine) as session:
        point = recovery.resume_point(worker, second, session)
        assert point is not None
        assert point.step == 2
        assert session.get_one(Job, first.job_id).step == 2
    lost = [message for message in told(worker, first.job_id) if "is unusable" in message]
    assert [message.split(":")[0] for message in lost] == [
        "the checkpoint of step 4 is unusable",
        "the checkpoint of step 3 is unusable",
    ]


def test_a_holder_that_was_replaced_takes_nothing_over(worker: WorkerProcess, engine: Engine) -> None:
    first = claim_again(worker, make_job(engine))
    report(worker, first, range(1, 3))
    publish(worker, first, 2)
    lose(worker, first)
    second = claim_again(worker, first.job_id)
    lose(worker, second)
    claim_again(worker, first.job_id)
    with pytest.raises(FenceLost):
        recovery.recover_previous_attempts(worker, second)
    assert losses(worker, first.job_id) == []
    assert saved_steps(worker, first.job_id) == []


@pytest.mark.parametrize("host", [process.HOST, "another-machine"])
def test_what_an_earlier_attempt_left_running_here_is_killed(worker: WorkerProcess, engine: Engine, host: str) -> None:
    first = claim_again(worker, make_job(engine))
    child = process.start(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        log=worker.artifacts.root / "log", environment=dict(os.environ), folder=worker.artifacts.root,
    )  # fmt: skip
    started = process.start_time(child.pid)
    with unit_of_work(engine) as session:
        claims.update_attempt(session, first.job_id, 1, pgid=child.pid, pid_starttime=started, host=host)
    lose(worker, first)
    recovery.recover_previous_attempts(worker, claim_again(worker, first.job_id))
    try:
        if host == process.HOST:
            assert child.wait(5) == -9
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.3)
    finally:
        child.kill()
        child.wait()


def test_an_attempt_without_a_folder_is_closed(worker: WorkerProcess, engine: Engine) -> None:
    first = claim_again(worker, make_job(engine))
    lose(worker, first)
    recovery.recover_previous_attempts(worker, claim_again(worker, first.job_id))
    assert closed(worker, first.job_id) == [True, False]
