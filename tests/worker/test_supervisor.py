"""What the supervisor does when its own side breaks; the rest of it is driven for real in `tests/e2e`."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError

from store import checkpoints, jobs
from store.artifacts import Artifacts
from store.db import unit_of_work
from store.settings import Settings
from store.tables import Attempt
from tests.e2e.conftest import trainers
from tests.store.test_jobs import SPEC, claim, make_job
from worker import supervisor
from worker.supervisor import Worker, run_attempt


@pytest.fixture
def worker(engine: Engine, tmp_path: Path) -> Worker:
    return Worker(Settings(data_dir=tmp_path, retry_backoff_s=0.1), engine)


def test_a_worker_that_cannot_run_the_attempt_says_so_at_once(worker: Worker, engine: Engine, tmp_path: Path) -> None:
    job_id = make_job(engine)
    (tmp_path / "jobs").write_text("a file where a folder should be")
    run_attempt(worker, job_id)
    with unit_of_work(engine) as session:
        assert jobs.get(session, job_id).state == "retry_wait"
        attempt = session.scalars(select(Attempt)).one()
        assert (attempt.exit_kind, attempt.ended_at is not None) == ("worker_error", True)
    assert worker.active == set()


def test_a_trainer_whose_group_cannot_be_recorded_does_not_live_on(
    worker: Worker, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = make_job(engine)

    def broken(*_: object) -> None:
        raise OperationalError("UPDATE", {}, Exception("the database went away"))

    monkeypatch.setattr(supervisor._Attempt, "_record_group", broken)
    run_attempt(worker, job_id)
    assert trainers(tmp_path) == []
    with unit_of_work(engine) as session:
        assert jobs.get(session, job_id).state == "retry_wait"


def test_all_jobs_share_one_folder_of_teachers_answers(worker: Worker, engine: Engine, tmp_path: Path) -> None:
    folders = []
    for _ in range(2):
        hold = claim(engine, make_job(engine))
        assert hold is not None
        folders.append(supervisor._Attempt(worker, hold)._run_config().teacher_cache)
    assert folders == [str((tmp_path / "teacher_cache").absolute())] * 2


def test_an_attempt_resumes_from_the_newest_checkpoint_that_is_really_there(
    worker: Worker, engine: Engine, tmp_path: Path
) -> None:
    job_id = make_job(engine)
    hold = claim(engine, job_id)
    assert hold is not None
    folder = tmp_path / "jobs" / "whole"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"files": {}}')
    torn = tmp_path / "jobs" / "torn"
    torn.mkdir()
    (torn / "manifest.json").write_text('{"files": {"model.safetensors": {"bytes": 5, "sha256": "x"}}}')
    with unit_of_work(engine) as session:
        for step, path in ((1, "jobs/whole"), (2, "jobs/torn"), (3, "jobs/gone")):
            checkpoints.commit(session, job_id, hold.fence, step=step, path=path, manifest_sha256="x", size=1)
    run = supervisor._Attempt(worker, hold)._run_config()
    assert run.resume_from == str((tmp_path / "jobs" / "whole").absolute())
    assert run.spec == SPEC
    assert run.keep_all_checkpoints  # deleting is ours, under our fence
    assert Artifacts(tmp_path).attempt(job_id, hold.fence).absolute() == Path(run.run_dir)
    with unit_of_work(engine) as session:
        assert [c.step for c in checkpoints.of_job(session, job_id)] == [1]
