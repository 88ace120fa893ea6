"""A worker measures its machine once, with a real but small measurement, and only while no job needs the machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine

from store import workers
from store.db import reading, unit_of_work
from store.jobs import lifecycle
from store.settings import Settings
from tests.e2e.conftest import wait_for
from tests.store.jobs.factories import make_job
from worker import process
from worker.self_measurement import SelfMeasurement, result_file
from worker.slots import WorkerProcess
from worker.sweeper import Sweeper

pytestmark = pytest.mark.integration

SHORT = (
    "from tests.uniapl.training.test_self_measurement import TINY;"
    "from uniapl.training.self_measurement import main; main({'cpu': TINY}, update_s=0.1)"
)
ENDLESS = "import time; time.sleep(600)"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, measure_speed=True, vllm_command=["none"])


@pytest.fixture
def make_worker(engine: Engine, settings: Settings) -> Iterator[Callable[..., WorkerProcess]]:
    made = []

    def make(script: str, deadline_s: float = 120.0) -> WorkerProcess:
        worker = WorkerProcess(settings, engine)
        worker.measurement = SelfMeasurement(settings, (sys.executable, "-c", script), deadline_s)
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.drain()


def reported(engine: Engine, worker: WorkerProcess) -> dict[str, float] | None:
    with reading(engine) as session:
        return next(row.speed for row in workers.alive(session, 90) if row.id == worker.owner)


def children() -> list[str]:
    return [" ".join(child.cmdline()) for child in psutil.Process().children() if "--out" in child.cmdline()]


def test_an_idle_worker_measures_and_reports_its_speed_once(
    engine: Engine, settings: Settings, make_worker: Callable[..., WorkerProcess]
) -> None:
    worker = make_worker(SHORT)
    sweeper = Sweeper(worker)
    sweeper.sweep()
    assert reported(engine, worker) is None
    assert len(children()) == 1

    def swept() -> bool:
        time.sleep(0.2)
        sweeper.sweep()
        return reported(engine, worker) is not None

    wait_for(swept, timeout_s=120)
    speed = reported(engine, worker)
    assert speed is not None
    assert speed["update"] > 0
    assert not worker.measurement.running
    again = make_worker(ENDLESS)  # the worker starts again: nothing is measured
    Sweeper(again).sweep()
    assert reported(engine, again) == speed
    assert children() == []


def test_another_version_of_torch_is_measured_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = result_file(settings)
    assert result_file(settings) == before
    monkeypatch.setattr("worker.self_measurement._torch", lambda: "99.0")
    assert result_file(settings) != before


def test_a_job_ends_the_measurement_before_it_starts(make_worker: Callable[..., WorkerProcess]) -> None:
    worker = make_worker(ENDLESS)
    Sweeper(worker).sweep()
    assert len(children()) == 1
    seen: list[list[str]] = []

    def attempt(_: WorkerProcess, job_id: str) -> bool:
        seen.append(children())
        return True

    assert worker.take("job", attempt)
    wait_for(lambda: not worker.active, timeout_s=30)
    assert seen == [[]]
    Sweeper(worker).sweep()  # idle again
    assert len(children()) == 1
    worker.drain()
    assert children() == []


def test_nothing_is_measured_while_a_job_waits_or_another_worker_of_this_machine_trains(
    engine: Engine, make_worker: Callable[..., WorkerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sweeper.run_attempt", lambda worker, job_id: False)  # claims nothing
    worker = make_worker(ENDLESS)
    sweeper = Sweeper(worker)
    job_id = make_job(engine)
    sweeper.sweep()
    wait_for(lambda: not worker.active, timeout_s=30)
    assert children() == []
    boot = process.boot_id()
    with unit_of_work(engine) as session:
        lifecycle.claim(session, job_id, owner="worker_b", host="h", boot_id="another machine", lease_s=60)
    sweeper.sweep()
    assert len(children()) == 1
    other = make_job(engine)
    with unit_of_work(engine) as session:
        lifecycle.claim(session, other, owner="worker_b", host="h", boot_id=boot, lease_s=60)
    sweeper.sweep()
    assert children() == []


def test_a_measurement_beyond_its_deadline_is_ended_and_not_repeated(
    make_worker: Callable[..., WorkerProcess], caplog: pytest.LogCaptureFixture
) -> None:
    worker = make_worker(ENDLESS, deadline_s=0.0)
    sweeper = Sweeper(worker)
    for _ in range(3):
        sweeper.sweep()
    assert children() == []
    assert caplog.text.count("took longer than 0 s") == 1


def test_two_workers_of_a_machine_do_not_measure_at_once(make_worker: Callable[..., WorkerProcess]) -> None:
    first, second = make_worker(ENDLESS), make_worker(ENDLESS)
    for worker in (first, second):
        worker.measure(idle=True)
    assert (first.measurement.running, second.measurement.running) == (True, False)
    first.drain()
    second.measure(idle=True)
    assert second.measurement.running
    second.drain()


def test_the_operator_can_turn_it_off(settings: Settings, make_worker: Callable[..., WorkerProcess]) -> None:
    settings.measure_speed = False
    Sweeper(make_worker(ENDLESS)).sweep()
    assert children() == []
