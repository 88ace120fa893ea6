"""Failures on the worker's side of an attempt; `tests/e2e` runs attempts in full."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.exc import OperationalError

from store import workers
from store.access import keyring, secrets
from store.access.keyring import SecretKey
from store.artifacts.paths import Artifacts
from store.checkpoints import repository as checkpoints
from store.db import unit_of_work
from store.jobs import lifecycle
from store.settings import Settings
from store.tables import Attempt, Job, Worker
from tests.e2e.conftest import trainers
from tests.store.jobs.factories import SPEC, claimed, history, make_job, state, try_claim
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec
from worker import attempt as supervisor
from worker import claim, hardware
from worker.attempt import run_attempt
from worker.slots import WorkerProcess

pytestmark = pytest.mark.integration

OTHER = {"host": "other", "version": "0", "vllm": "0.33.0"}


@pytest.fixture
def worker(engine: Engine, tmp_path: Path) -> WorkerProcess:
    return WorkerProcess(Settings(data_dir=tmp_path, retry_backoff_s=0.1), engine)


def test_a_worker_that_cannot_run_the_attempt_says_so_at_once(
    worker: WorkerProcess, engine: Engine, tmp_path: Path
) -> None:
    job_id = make_job(engine)
    (tmp_path / "jobs").write_text("a file where a folder should be")
    run_attempt(worker, job_id)
    with unit_of_work(engine) as session:
        assert lifecycle.get(session, job_id).state == "retry_wait"
        attempt = session.scalars(select(Attempt)).one()
        assert (attempt.exit_kind, attempt.ended_at is not None) == ("worker_error", True)
    assert worker.active == set()


def test_a_trainer_whose_group_cannot_be_recorded_does_not_live_on(
    worker: WorkerProcess, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = make_job(engine)

    def broken(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(supervisor._Attempt, "_record_group", broken)
    run_attempt(worker, job_id)
    assert trainers(tmp_path) == []
    with unit_of_work(engine) as session:
        assert lifecycle.get(session, job_id).state == "retry_wait"


def sampled_by(engine: Engine, worker: WorkerProcess, **fields: Any) -> tuple[Any, list[str]]:
    """The sampler in the trainer's run.json, and the events of an attempt."""
    spec = JobSpec.model_validate({**SPEC.model_dump(exclude_unset=True), **fields})
    with unit_of_work(engine) as session:
        job_id = lifecycle.create(session, spec, {"tiny": ModelSource(path="/models/tiny")}).id
    run_attempt(worker, job_id)
    file = worker.artifacts.attempt(job_id, 1) / "run.json"
    backend = json.loads(file.read_text())["spec"]["rollout"]["backend"] if file.exists() else None
    return backend, [message for _, message in history(engine, job_id)]


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "TRAINER", (sys.executable, "-c", "pass"))


@pytest.mark.usefixtures("ending")
def test_the_worker_chooses_the_sampler_that_the_spec_leaves_open(worker: WorkerProcess, engine: Engine) -> None:
    backend, events = sampled_by(engine, worker)
    assert backend == {"type": "transformers"}
    assert "rollouts are sampled in the trainer's process: the worker has no GPU" in events
    backend, events = sampled_by(engine, worker, rollout={"backend": {"type": "transformers"}})
    assert (backend, [e for e in events if "sampled" in e]) == ({"type": "transformers"}, [])
    backend, events = sampled_by(engine, worker, alpha=1, lambda_adv=0)
    assert (backend, [e for e in events if "sampled" in e]) == ({"type": "transformers"}, [])


@pytest.mark.usefixtures("ending")
def test_every_attempt_has_the_date_of_the_first(worker: WorkerProcess, engine: Engine) -> None:
    with unit_of_work(engine) as session:
        job_id = lifecycle.create(session, SPEC, {"tiny": ModelSource(path="/models/tiny")}).id
    with unit_of_work(engine) as session:  # an attempt before this one, on another day
        session.execute(update(Job).where(Job.id == job_id).values(started_at=1_721_995_200.0))
    run_attempt(worker, job_id)
    spec = json.loads((worker.artifacts.attempt(job_id, 1) / "run.json").read_text())["spec"]
    assert spec["data"]["date"] == "2024-07-26"


@pytest.mark.usefixtures("ending")
def test_a_worker_with_a_gpu_and_vllm_samples_by_a_server(
    worker: WorkerProcess, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = {"name": "G", "memory_bytes": 80 * 10**9, "processes": ["trainer", "rollout"]}
    monkeypatch.setattr(hardware, "gpus", lambda settings: [card])
    monkeypatch.setattr(WorkerProcess, "vllm", "0.33.0")
    backend, events = sampled_by(engine, worker)
    assert backend["type"] == "vllm"
    assert "rollouts are sampled by a vLLM server: the worker has a GPU and vLLM 0.33.0" in events


@pytest.mark.usefixtures("ending")
def test_a_worker_without_vllm_leaves_its_jobs_to_one_that_has_it(worker: WorkerProcess, engine: Engine) -> None:
    served: dict[str, Any] = {"rollout": {"backend": {"type": "vllm"}}}
    spec = JobSpec.model_validate({**SPEC.model_dump(exclude_unset=True), **served})
    with unit_of_work(engine) as session:
        job_id = lifecycle.create(session, spec, {"tiny": ModelSource(path="/models/tiny")}).id
        workers.report(session, "worker_other", {**worker.hardware().model_dump(), **OTHER}, 90.0)
    assert not run_attempt(worker, job_id)
    assert state(engine, job_id) == "queued"
    with unit_of_work(engine) as session:
        session.execute(delete(Worker))
    assert run_attempt(worker, job_id)
    with unit_of_work(engine) as session:
        job = lifecycle.get(session, job_id)
        assert job.error is not None
        assert (job.state, job.error["code"], job.error["param"]) == ("failed", "vllm_missing", "rollout.backend")
        assert "UNIAPL_VLLM_COMMAND" in job.error["hint"]


def test_a_worker_without_a_library_leaves_its_jobs_to_one_that_has_it(
    worker: WorkerProcess, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "bitsandbytes", lambda: None)
    spec = JobSpec.model_validate({**SPEC.model_dump(exclude_unset=True), "optimizer": {"moments": "8bit"}})
    with unit_of_work(engine) as session:
        job_id = lifecycle.create(session, spec, {"tiny": ModelSource(path="/models/tiny")}).id
        facts = {**worker.hardware().model_dump(), **OTHER, "bitsandbytes": "0.50.2"}
        workers.report(session, "worker_other", facts, 90.0)
    assert claim.claim_job(worker, job_id) is None
    assert state(engine, job_id) == "queued"
    with unit_of_work(engine) as session:
        workers.report(session, "worker_other", {**facts, "bitsandbytes": None}, 90.0)
    worker._skipped_until.clear()
    assert claim.claim_job(worker, job_id) is not None  # no worker has it: the trainer reports what is missing


IN_PROCESS: dict[str, Any] = {"rollout": {"backend": {"type": "transformers"}}}


@pytest.fixture
def with_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has a GPU and vLLM."""
    card = {"name": "G", "memory_bytes": 80 * 10**9, "processes": ["trainer", "rollout"]}
    monkeypatch.setattr(hardware, "gpus", lambda settings: [card])
    monkeypatch.setattr(WorkerProcess, "vllm", "0.33.0")


@pytest.mark.usefixtures("ending", "with_vllm")
def test_a_sampler_in_the_trainers_process_is_left_to_a_worker_without_vllm(
    worker: WorkerProcess, engine: Engine
) -> None:
    spec = JobSpec.model_validate({**SPEC.model_dump(exclude_unset=True), **IN_PROCESS})
    with unit_of_work(engine) as session:
        job_id = lifecycle.create(session, spec, {"tiny": ModelSource(path="/models/tiny")}).id
        without = {**worker.hardware().model_dump(), **OTHER, "vllm": None}
        workers.report(session, "worker_other", without, 90.0)
    assert not run_attempt(worker, job_id)
    assert state(engine, job_id) == "queued"
    with unit_of_work(engine) as session:
        session.execute(delete(Worker))
    assert run_attempt(worker, job_id)
    with unit_of_work(engine) as session:
        job = lifecycle.get(session, job_id)
        assert job.error is not None
        assert (job.state, job.error["code"], job.error["param"]) == ("failed", "sampler_refused", "rollout.backend")
        assert "leave rollout.backend out" in job.error["hint"]


@pytest.mark.usefixtures("ending", "with_vllm")
@pytest.mark.parametrize("changes", [{"spec_version": 5}, {"attempt": 1}])
def test_an_older_job_and_a_resumed_run_keep_the_sampler_in_the_trainers_process(
    worker: WorkerProcess, engine: Engine, changes: dict[str, Any]
) -> None:
    spec = JobSpec.model_validate({**SPEC.model_dump(exclude_unset=True), **IN_PROCESS})
    with unit_of_work(engine) as session:
        job_id = lifecycle.create(session, spec, {"tiny": ModelSource(path="/models/tiny")}).id
        session.execute(update(Job).where(Job.id == job_id).values(**changes))
    assert run_attempt(worker, job_id)
    run = json.loads((worker.artifacts.attempt(job_id, 1) / "run.json").read_text())
    assert run["spec"]["rollout"]["backend"] == {"type": "transformers"}
    assert run["servers"] == {}


@pytest.mark.parametrize("step", ["_run_config", "_secrets", "_record_group"])
def test_an_attempt_that_begins_waits_for_the_database(
    worker: WorkerProcess, engine: Engine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    job_id = make_job(engine)
    monkeypatch.setattr(supervisor, "INTENT_S", 0.01)
    asked = []
    real = getattr(supervisor._Attempt, step)

    def away_at_first(*arguments: object) -> object:
        asked.append(step)
        if len(asked) < 3:
            raise OperationalError("UPDATE", {}, Exception("the database went away"))
        return real(*arguments)

    monkeypatch.setattr(supervisor._Attempt, step, away_at_first)
    run_attempt(worker, job_id)
    assert len(asked) == 3
    with unit_of_work(engine) as session:
        assert session.scalars(select(Attempt.exit_kind)).one() != "worker_error"


def test_a_tenants_jobs_share_one_folder_of_teachers_answers(
    worker: WorkerProcess, engine: Engine, tmp_path: Path
) -> None:
    folders = []
    for tenant in ("acme", "acme", "other"):
        with unit_of_work(engine, tenant) as session:
            job_id = lifecycle.create(session, SPEC, {"tiny": ModelSource(path="/models/tiny")}).id
        folders.append(supervisor._Attempt(worker, claimed(engine, job_id))._run_config().teacher_cache)
    cache = (tmp_path / "teacher_cache").absolute()
    assert folders == [str(cache / "acme"), str(cache / "acme"), str(cache / "other")]


def with_teacher(engine: Engine, **teacher: Any) -> str:
    """A job whose teacher is behind an address."""
    given = {"type": "openai", "base_url": "https://teacher.example/v1", "model": "m", **teacher}
    spec = JobSpec.model_validate({**SPEC.model_dump(exclude_unset=True), "teacher": given})
    with unit_of_work(engine) as session:
        return lifecycle.create(session, spec, {"tiny": ModelSource(path="/models/tiny")}).id


@pytest.mark.parametrize("harm", ["deleted", "encrypted with another key", "whole"])
def test_a_trainer_starts_with_its_secret_in_its_input_or_not_at_all(
    worker: WorkerProcess, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    received = tmp_path / "received"
    copy = f"import sys; open({str(received)!r}, 'w').write(sys.stdin.read() + ' '.join(sys.argv[1:]))"
    monkeypatch.setattr(supervisor, "TRAINER", (sys.executable, "-c", copy))
    key = keyring.load(worker.settings) if harm == "whole" else SecretKey(["x" * 64])
    job_id = with_teacher(engine, api_key_secret="big")
    if harm != "deleted":
        with unit_of_work(engine) as session:
            secrets.put(session, key, "big", "sk-0123456789")
    run_attempt(worker, job_id)
    with unit_of_work(engine) as session:
        job = lifecycle.get(session, job_id)
        ended = (job.state, session.scalars(select(Attempt)).one().exit_kind)
    if harm == "whole":
        assert received.read_text().startswith('{"big": "sk-0123456789"}')
        assert "--secrets-stdin" in received.read_text()
        assert received.read_text().count("sk-0123456789") == 1
        assert ended == ("retry_wait", "no_final_checkpoint")
    else:
        assert not received.exists()
        assert ended == ("failed", "secret_unusable")
        assert job.error is not None
        assert job.error["param"] == "teacher.api_key_secret"
        assert harm in job.error["message"]
        assert "PUT /secrets/big" in job.error["hint"]


def test_only_addresses_that_the_operator_has_listed_may_be_anywhere(worker: WorkerProcess, engine: Engine) -> None:
    worker.settings.teacher_urls = ["http://127.0.0.1:9/v1", "https://*"]
    found = {}
    for url in ("http://127.0.0.1:9/v1", "https://teacher.example/v1"):
        claim = claimed(engine, with_teacher(engine, base_url=url))
        found[url] = supervisor._Attempt(worker, claim)._run_config().public_addresses_only
    assert found == {"http://127.0.0.1:9/v1": False, "https://teacher.example/v1": True}


def test_an_attempt_resumes_from_the_newest_checkpoint_that_is_really_there(
    worker: WorkerProcess, engine: Engine, tmp_path: Path
) -> None:
    job_id = make_job(engine)
    claim = try_claim(engine, job_id)
    assert claim is not None
    folder = tmp_path / "jobs" / "whole"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"files": {}}')
    torn = tmp_path / "jobs" / "torn"
    torn.mkdir()
    (torn / "manifest.json").write_text('{"files": {"model.safetensors": {"bytes": 5, "sha256": "x"}}}')
    with unit_of_work(engine) as session:
        for step, path in ((1, "jobs/whole"), (2, "jobs/torn"), (3, "jobs/gone")):
            checkpoints.commit(session, job_id, claim.fence, step=step, path=path, manifest_sha256="x", size=1)
    run = supervisor._Attempt(worker, claim)._run_config()
    assert run.resume_from == str((tmp_path / "jobs" / "whole").absolute())
    assert run.spec == SPEC.with_date(datetime.now(UTC).date())
    assert run.keep_all_checkpoints  # the worker deletes checkpoints, under its fence
    assert Artifacts(tmp_path).attempt(job_id, claim.fence).absolute() == Path(run.run_dir)
    with unit_of_work(engine) as session:
        assert [c.step for c in checkpoints.of_job(session, job_id)] == [1]
