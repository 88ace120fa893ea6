"""Pauses, drains and what they cost: a trainer that is asked to stop, on both databases."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from store.checkpoints import repository as checkpoints
from store.db import unit_of_work
from store.jobs import events as job_events
from store.jobs import lifecycle
from store.settings import Settings
from store.states import State
from store.tables import Attempt, Job
from tests.e2e.conftest import wait_for
from tests.store.jobs.factories import make_job
from worker import attempt as supervisor
from worker.attempt import run_attempt
from worker.slots import WorkerProcess

pytestmark = pytest.mark.integration

TRAINER = """
import json, os, signal, sys, time
from pathlib import Path
from uniapl.run import manifest
from uniapl.run.reporter import Reporter

how, folder = sys.argv[1], Path(json.loads(Path(sys.argv[2]).read_text())["run_dir"])
signal.signal(signal.SIGTERM, lambda *_: (folder / "asked").touch())

def wait_for(name):
    while not (folder / name).exists():
        time.sleep(0.01)

def save(step):
    saved = manifest.publish(folder / "checkpoints", step, lambda path: (path / "model").write_text("w") and None, {})
    reporter.checkpoint(saved.step, saved.path, saved.manifest_sha256, saved.bytes)

with Reporter(folder / "reports.jsonl") as reporter:
    reporter.phase("training")
    for step in range(1, 6):
        reporter.metrics(step, {"loss": 1.0})
        if step == 2:
            save(step)
    if how == "crashes":
        sys.exit(1)
    wait_for("never" if how == "deaf" else "asked")
    wait_for("go")
    if how == "dies":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    save(5)
sys.exit(75)
"""
"""Five steps with a checkpoint after the second. Asked to stop, it saves and ends once the test lets it `go`."""
DRAIN_S = 0.2


class Attempting:
    """An attempt in a thread of its own."""

    def __init__(self, worker: WorkerProcess, how: str, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(supervisor, "TRAINER", (sys.executable, "-c", TRAINER, how))
        patch.setattr(supervisor, "INTENT_S", 0.05)
        self.worker, self.job_id = worker, make_job(worker.engine)
        self.folder = worker.artifacts.attempt(self.job_id, 1)
        self._thread = threading.Thread(target=run_attempt, args=(worker, self.job_id))
        self._thread.start()

    def ask(self, request: Callable[..., Job]) -> None:
        with unit_of_work(self.worker.engine) as session:
            request(session, self.job_id)

    def at_step_5(self) -> None:
        wait_for(lambda: self.job.step == 5)

    def asked(self) -> None:
        wait_for((self.folder / "asked").exists)

    def end(self) -> str:
        """Let it go; returns how the attempt ended."""
        wait_for(self.folder.exists)
        (self.folder / "go").touch()
        self._thread.join()
        with unit_of_work(self.worker.engine) as session:
            return str(session.scalars(select(Attempt.exit_kind)).one())

    @property
    def job(self) -> Job:
        with unit_of_work(self.worker.engine) as session:
            return lifecycle.get(session, self.job_id)

    @property
    def saved(self) -> list[int]:
        with unit_of_work(self.worker.engine) as session:
            return [row.step for row in checkpoints.of_job(session, self.job_id)]

    def events(self, what: str) -> list[tuple[str, dict[str, Any]]]:
        with unit_of_work(self.worker.engine) as session:
            found = job_events.after(session, self.job_id, 0, 1000)
        return [(event.message, event.data) for event in found if what in event.message]

    def charged(self) -> tuple[int, int, int]:
        return self.job.infra_failures, self.job.user_failures, self.job.fruitless_attempts


@pytest.fixture
def start(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Attempting]:
    worker = WorkerProcess(Settings(data_dir=tmp_path, drain_s=DRAIN_S, retry_backoff_s=0.1), engine)
    return lambda how: Attempting(worker, how, monkeypatch)


def test_a_pause_takes_as_long_as_it_needs(start: Callable[[str], Attempting]) -> None:
    attempt = start("saves")
    attempt.at_step_5()
    attempt.ask(lifecycle.request_pause)
    attempt.asked()
    time.sleep(10 * DRAIN_S)
    assert attempt.end() == "preempted"
    assert (attempt.job.state, attempt.saved, attempt.charged()) == (State.PAUSED, [5, 2], (0, 0, 0))
    assert attempt.events("steps lost") == []


@pytest.mark.parametrize("how", ["saves", "dies"])
def test_a_pause_that_is_withdrawn_while_the_trainer_stops_is_no_failure(
    start: Callable[[str], Attempting], how: str
) -> None:
    attempt = start(how)
    attempt.at_step_5()
    attempt.ask(lifecycle.request_pause)
    attempt.asked()
    attempt.ask(lifecycle.request_resume)
    time.sleep(10 * DRAIN_S)  # the holder sees that the pause is withdrawn
    assert attempt.end() == "preempted"
    saved = [5, 2] if how == "saves" else [2]
    assert (attempt.job.state, attempt.saved, attempt.charged()) == (State.QUEUED, saved, (0, 0, 0))
    assert (attempt.job.preemptions, attempt.job.pause_requested) == (1, False)
    assert len(attempt.events("steps lost")) == (how == "dies")


@pytest.mark.parametrize("paused", [False, True])
def test_a_drain_has_a_deadline_and_what_it_costs_is_an_event(start: Callable[[str], Attempting], paused: bool) -> None:
    attempt = start("deaf")
    attempt.at_step_5()
    if paused:
        attempt.ask(lifecycle.request_pause)
        attempt.asked()
    attempt.worker.stopping.set()
    assert attempt.end() == "preempted"
    state = State.PAUSED if paused else State.QUEUED
    assert (attempt.job.state, attempt.saved, attempt.charged()) == (state, [2], (0, 0, 0))
    [(message, data)] = attempt.events("steps lost")
    assert message == "steps lost: 3 (last finished step 5, last checkpoint at step 2)"
    assert data == {"lost_steps": 3, "finished_step": 5, "checkpoint_step": 2}
    assert len(attempt.events(f"killed after {DRAIN_S:g} s")) == (not paused)
    assert attempt.job.step == 2  # where it continues


def test_a_crash_costs_what_one_event_counts(start: Callable[[str], Attempting]) -> None:
    attempt = start("crashes")
    assert attempt.end() == "trainer_crashed"
    assert (attempt.job.state, attempt.charged()) == (State.RETRY_WAIT, (1, 0, 1))
    assert [data["lost_steps"] for _, data in attempt.events("steps lost")] == [3]
    with unit_of_work(attempt.worker.engine) as session:
        session.get_one(Job, attempt.job_id).not_before = 0.0
        session.flush()
        lifecycle.requeue_due(session)
    run_attempt(attempt.worker, attempt.job_id)  # from step 2, and again to step 5
    assert [data["lost_steps"] for _, data in attempt.events("steps lost")] == [3, 3]
