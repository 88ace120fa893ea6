"""`uniapl admin doctor` finds each thing that can be wrong, and nothing where all is well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from alembic import command
from sqlalchemy import Engine, update

from admin.doctor import examine
from store.artifacts.paths import Artifacts
from store.checkpoints import repository as checkpoints
from store.db import make_engine, unit_of_work
from store.migrate import alembic_config
from store.settings import Settings
from store.tables import Dataset, Job
from tests.conftest import MODELS
from tests.store.jobs.factories import claimed, make_job
from uniapl.estimate.model_shape import read_shape
from uniapl.run.config import ModelSource

pytestmark = pytest.mark.integration


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.full)])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, database_url=database_url, lease_s=1, sweep_s=0.1)


def found(settings: Settings) -> list[str]:
    return [finding.what for finding in examine(settings) if "GB" not in finding.what]  # this disk may be nearly full


def test_a_fresh_service_is_well(settings: Settings) -> None:
    assert found(settings) == []


def test_jobs_without_a_living_holder_are_found(settings: Settings, engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    assert found(settings) == []
    with unit_of_work(engine) as session:
        session.execute(update(Job).where(Job.id == claim.job_id).values(lease_expires_at=Job.lease_expires_at - 100))
    (what,) = found(settings)
    assert "1 active jobs have no live worker" in what


def test_a_queue_that_nobody_serves_is_found(settings: Settings, engine: Engine) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        session.execute(update(Job).where(Job.id == job_id).values(created_at=Job.created_at - 100))
    (what,) = found(settings)
    assert "no job is running" in what


def test_checkpoints_that_the_disk_cannot_hold_are_found(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = {"path": str(MODELS / "tiny-random-llama")}
    schedule = {"steps": 100, "checkpoint_every": 10, "keep_checkpoints": 5}
    spec = {"student": "s", "dataset_mix": [{"dataset": "d"}], "schedule": schedule}
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        session.execute(update(Job).where(Job.id == job_id).values(spec=spec, models={"s": student}))
    one = 12 * read_shape(ModelSource.model_validate(student)).parameters  # weights and moments in float32
    for kept, expected in ((6 * one, 0), (6 * one - 1, 1)):
        monkeypatch.setattr(
            "admin.doctor.shutil.disk_usage", lambda _, kept=kept: SimpleNamespace(free=kept, total=kept)
        )
        what = [finding.what for finding in examine(settings)]
        assert sum("unfinished jobs" in each for each in what) == expected, what


def test_a_trainer_that_no_job_knows_is_found(settings: Settings, tmp_path: Path) -> None:
    run = Artifacts(tmp_path).attempt("job_1", 3).absolute() / "run.json"
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(run)])
    try:
        (what,) = found(settings)
        assert what.startswith(f"process {process.pid} trains job_1")
    finally:
        process.kill()
        process.wait()


def test_missing_artifacts_are_found(settings: Settings, engine: Engine) -> None:
    job_id = make_job(engine)
    with unit_of_work(engine) as session:
        session.execute(update(Job).where(Job.id == job_id).values(state="cancelled"))
        checkpoints.commit(session, job_id, 1, step=1, path="jobs/x", manifest_sha256="x", size=1)
        numbers = {"rows": 1, "references": 1, "rewards": 0, "bytes": 1}
        session.add(Dataset(id="ds_1", tenant="default", name="lost", sha256="x", **numbers))
    whats = found(settings)
    assert len(whats) == 2
    assert "is incomplete" in whats[0]
    assert "dataset ds_1 (lost) has no file" in whats[1]


def test_migrations_behind_are_found(settings: Settings) -> None:
    stamp(settings, "0001")
    try:
        (what,) = found(settings)
    finally:
        stamp(settings, "head")  # other tests use the same database
    assert what == "migrations of this code are missing in the database"


def stamp(settings: Settings, revision: str) -> None:
    engine = make_engine(settings.database)
    with engine.connect() as connection:
        command.stamp(alembic_config(connection), revision)
        connection.commit()
    engine.dispose()


def test_servers_that_do_not_answer_are_found(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql+psycopg://u@127.0.0.1:1/x"})
    assert "the database is unreachable" in found(Settings(**away.model_dump()))[0]
    away = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    assert "the broker is unreachable" in found(Settings(**away.model_dump()))[0]


def test_the_command_prints_findings_with_remedies_and_says_so_by_its_status(tmp_path: Path) -> None:
    uniapl = str(Path(sys.executable).with_name("uniapl"))
    environment = {**os.environ, "UNIAPL_DATA_DIR": str(tmp_path / "missing"), "UNIAPL_DATABASE_URL": "sqlite://"}
    done = subprocess.run(
        [uniapl, "admin", "doctor"], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "is not writable" in done.stdout
    assert "correct UNIAPL_DATA_DIR" in done.stdout
    assert "uniapl admin db upgrade" in done.stdout
