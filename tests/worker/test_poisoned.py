"""A job that cannot be taken costs its own budget, and no other job's time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, text, update

from store.artifacts.paths import Artifacts
from store.db import unit_of_work
from store.jobs import claims, events, lifecycle
from store.settings import Settings
from store.tables import Attempt, Event, Job
from tests.e2e.conftest import wait_for
from tests.store.jobs.factories import ERROR, SPEC, history, make_job, state
from tests.store.jobs.factories import try_claim as claim_again
from uniapl.spec.job import SPEC_VERSION
from worker import attempt
from worker.slots import WorkerProcess
from worker.sweeper import Sweeper

pytestmark = pytest.mark.integration

Harm = Callable[[Engine, Artifacts, str], Any]


@pytest.fixture
def worker(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    """With one slot, whose trainer only waits."""
    monkeypatch.setattr(attempt, "TRAINER", ("/bin/sh", "-c", "sleep 60"))
    worker = WorkerProcess(Settings(data_dir=tmp_path, worker_slots=1, retry_backoff_s=0.1, drain_s=0.1), engine)
    yield worker
    worker.drain()


def sweep_until(worker: WorkerProcess, reached: Callable[[], bool], timeout_s: float = 60.0) -> int:
    """Sweep whenever the slot is free until the condition holds; returns how often."""
    sweeper, deadline = Sweeper(worker), time.monotonic() + timeout_s
    for number in count(1):
        sweeper.sweep()
        while not reached() and worker.active and time.monotonic() < deadline:
            time.sleep(0.02)
        if reached():
            return number
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)
    raise AssertionError


def started(engine: Engine, job_id: str) -> bool:
    """Whether a trainer of the job has been started."""
    with unit_of_work(engine) as session:
        groups = session.scalars(select(Attempt.pgid).where(Attempt.job_id == job_id))
        return any(group is not None for group in groups)


def rewrite(column: str, value: str) -> Harm:
    def harm(engine: Engine, _: Artifacts, job_id: str) -> None:
        with unit_of_work(engine) as session:
            session.execute(text(f"UPDATE jobs SET {column} = :value WHERE id = :id"), {"value": value, "id": job_id})  # noqa: S608

    return harm


def a_file_for_a_folder(_: Engine, artifacts: Artifacts, job_id: str) -> None:
    folder = artifacts.root / "jobs" / job_id
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("not a folder")


def a_folder_for_reports(engine: Engine, artifacts: Artifacts, job_id: str) -> None:
    """An earlier attempt's, which the next one takes over."""
    claim = claim_again(engine, job_id)
    assert claim is not None
    with unit_of_work(engine) as session:
        lifecycle.retry_or_fail(session, job_id, claim.fence, ERROR, 0.0)
        claims.end_attempt(session, job_id, claim.fence, "trainer_crashed")
        lifecycle.requeue_due(session)
    artifacts.reports(job_id, claim.fence).mkdir(parents=True)


UNKNOWN_KEY = SPEC.model_dump_json()[:-1] + ', "speculative": 1}'
HARM: dict[str, tuple[Harm, str]] = {
    "a key that is not known": (rewrite("spec", UNKNOWN_KEY), "speculative: Extra inputs are not permitted"),
    "no spec": (rewrite("spec", "[]"), "Input should be a valid dictionary"),
    "no model's source": (rewrite("models", '{"tiny": {"url": "x"}}'), "tiny.url: Extra inputs are not permitted"),
    "a file for a folder": (a_file_for_a_folder, "Not a directory"),
    "a folder for reports": (a_folder_for_reports, "Is a directory: reports.jsonl"),
}


@pytest.mark.parametrize("what", HARM)
def test_a_job_that_cannot_be_taken_fails_by_its_own_budget_and_the_next_is_taken_at_once(
    engine: Engine, worker: WorkerProcess, what: str
) -> None:
    poisoned, healthy = make_job(engine), make_job(engine)
    harm, reason = HARM[what]
    harm(engine, worker.artifacts, poisoned)
    assert sweep_until(worker, lambda: started(engine, healthy)) <= 4  # the budget's, on a machine that stalls
    failures = [message for _, message in history(engine, poisoned) if "failed" in message]
    assert reason in failures[-1], failures
    assert failures[-1].endswith("; retrying")
    with unit_of_work(engine) as session:
        lifecycle.request_cancel(session, healthy)
    sweep_until(worker, lambda: state(engine, poisoned) == "failed")
    with unit_of_work(engine) as session:
        job = lifecycle.get(session, poisoned)
        assert (job.attempt, job.error and job.error["code"]) == (3, "no_progress")
        assert job.error is not None
        assert reason in job.error["message"]
        assert job.error["category"] == "infra"
        ends = session.scalars(select(Attempt.exit_kind).where(Attempt.job_id == poisoned).order_by(Attempt.fence))
        assert list(ends)[-2:] == ["worker_error", "worker_error"]
        events_of = session.scalars(select(Event).where(Event.job_id == poisoned, Event.level != "info")).all()
        moments = [event.created_at for event in events_of]
        assert moments[2] - moments[1] > 0.2  # twice the first wait
    assert not started(engine, poisoned)


def test_text_that_is_no_json_is_a_failed_attempt_too(engine: Engine, worker: WorkerProcess) -> None:
    if engine.dialect.name == "postgresql":
        pytest.skip("Postgres stores JSON only")
    poisoned, healthy = make_job(engine), make_job(engine)
    rewrite("spec", '{"student": "ti')(engine, worker.artifacts, poisoned)
    sweep_until(worker, lambda: started(engine, healthy))
    assert state(engine, poisoned) == "retry_wait"


def test_the_next_job_does_not_wait_for_the_next_sweep(engine: Engine, worker: WorkerProcess) -> None:
    worker.settings.sweep_s = worker.settings.retry_backoff_s = 3600
    poisoned, healthy = make_job(engine), make_job(engine)
    rewrite("spec", UNKNOWN_KEY)(engine, worker.artifacts, poisoned)
    sweeping = threading.Thread(target=Sweeper(worker).run, daemon=True)
    sweeping.start()
    wait_for(lambda: started(engine, healthy), timeout_s=60)
    assert state(engine, poisoned) == "retry_wait"
    worker.drain()
    sweeping.join(60)
    assert not sweeping.is_alive()


def test_a_job_whose_claim_cannot_be_written_is_set_aside(
    engine: Engine, worker: WorkerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    poisoned, healthy = make_job(engine), make_job(engine)
    with unit_of_work(engine) as session:  # where the claim's own event belongs
        events.add(session, poisoned, 2, 0, "from where?")
    sweep_until(worker, lambda: started(engine, healthy))
    with unit_of_work(engine) as session:
        lifecycle.request_cancel(session, healthy)
    sweep_until(worker, lambda: state(engine, healthy) == "cancelled")
    sweep_until(worker, lambda: not worker.active)
    assert state(engine, poisoned) == "queued"
    assert caplog.text.count("claiming the job failed") == 1


def test_a_spec_of_a_newer_version_is_left_alone(engine: Engine, worker: WorkerProcess) -> None:
    newer, healthy = make_job(engine), make_job(engine)
    with unit_of_work(engine) as session:
        values = {"spec": {"student": ["tiny"]}, "spec_version": SPEC_VERSION + 1}
        session.execute(update(Job).where(Job.id == newer).values(**values))
    assert sweep_until(worker, lambda: started(engine, healthy)) == 1
    assert history(engine, newer) == [(1, "job is queued")]


@pytest.mark.parametrize(
    "name", ["fence-1.bak", "fence-x", "fence-", "fence--3", "fence-²", "fence-99999999999999999999", "lost+found"]
)
def test_a_folder_that_is_no_attempts_is_no_hindrance(engine: Engine, worker: WorkerProcess, name: str) -> None:
    job_id = make_job(engine)
    (worker.artifacts.root / "jobs" / job_id / name / "checkpoints" / "step-00000001").mkdir(parents=True)
    assert sweep_until(worker, lambda: started(engine, job_id)) == 1
    with unit_of_work(engine) as session:
        assert lifecycle.get(session, job_id).fence == 1


def test_one_silent_holder_that_cannot_be_reaped_does_not_keep_others(
    engine: Engine, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, silent = make_job(engine), make_job(engine)
    for job_id in (broken, silent):
        assert claim_again(engine, job_id, lease_s=-1.0) is not None
    with unit_of_work(engine) as session:
        session.execute(text("DELETE FROM attempts WHERE job_id = :id"), {"id": broken})
    sweeper = Sweeper(worker)
    monkeypatch.setattr(sweeper, "_may_reap", lambda: True)
    sweeper.sweep()
    assert (state(engine, broken), state(engine, silent)) == ("starting", "retry_wait")
