"""Cleanup removes unreferenced files only."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from store import idempotency
from store.artifacts.paths import Artifacts
from store.checkpoints import repository as checkpoints
from store.datasets import repository as datasets
from store.datasets import uploads
from store.db import now, unit_of_work
from store.jobs import lifecycle
from store.jobs.claims import Claim
from store.settings import Settings
from store.tables import Dataset, IdempotentResponse, Job, Upload
from tests.store.jobs.factories import claimed, make_job
from uniapl.run import manifest
from worker import cleanup

pytestmark = pytest.mark.integration


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


def checkpoint(artifacts: Artifacts, claim: Claim, step: int) -> Path:
    folder = artifacts.checkpoints(claim.job_id, claim.fence)
    return manifest.publish(folder, step, lambda path: (path / "model.bin").write_text("m") and None, {}).path


def unfinished(artifacts: Artifacts, claim: Claim) -> Path:
    path = artifacts.checkpoints(claim.job_id, claim.fence) / ".step-00000099.tmp"
    path.mkdir(parents=True)
    (path / "model.bin").write_text("m")
    return path


def handed_over(artifacts: Artifacts, claim: Claim) -> Path:
    path = artifacts.handed_over(claim.job_id, claim.fence) / "version-3"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_text("m")
    return path


def commit(engine: Engine, artifacts: Artifacts, claim: Claim, step: int, path: Path, *, deleted: bool = False) -> None:
    with unit_of_work(engine) as session:
        name = artifacts.relative(path)
        checkpoints.commit(session, claim.job_id, claim.fence, step=step, path=name, manifest_sha256="x", size=1)
        if deleted:
            row = next(row for row in checkpoints.of_job(session, claim.job_id) if row.path == name)
            checkpoints.mark_deleted(session, row)


def end(engine: Engine, claim: Claim) -> None:
    with unit_of_work(engine) as session:
        session.get_one(Job, claim.job_id).state = "failed"


def test_of_a_living_job_only_what_is_deleted_or_left_by_earlier_attempts(engine: Engine, artifacts: Artifacts) -> None:
    old = claimed(engine, make_job(engine))
    left = unfinished(artifacts, old)
    kept, deleted, unreported = (checkpoint(artifacts, old, step) for step in (1, 2, 3))
    commit(engine, artifacts, old, 1, kept)
    commit(engine, artifacts, old, 2, deleted, deleted=True)
    with unit_of_work(engine) as session:
        lifecycle.preempt(session, old, "stopping")
    new = claimed(engine, old.job_id)
    handed, handing = handed_over(artifacts, old), handed_over(artifacts, new)
    fresh = checkpoint(artifacts, new, 4)
    writing = unfinished(artifacts, new)
    cleanup.clear(engine, artifacts)
    assert not left.exists()
    assert not deleted.exists()
    assert not handed.exists()
    for path in (
        kept,
        unreported,
        writing,
        fresh,
        handing,
    ):  # the unreported may be adopted, the fresh one will be reported
        assert path.exists(), path


def test_of_a_job_that_is_over_everything_without_a_row(engine: Engine, artifacts: Artifacts) -> None:
    claim = claimed(engine, make_job(engine))
    kept, unreported = (checkpoint(artifacts, claim, step) for step in (1, 2))
    left = unfinished(artifacts, claim)
    commit(engine, artifacts, claim, 1, kept)
    log = artifacts.attempt(claim.job_id, claim.fence) / "trainer.log"
    log.write_text("a log")
    end(engine, claim)
    cleanup.clear(engine, artifacts)
    assert kept.exists()
    assert log.exists()
    assert not left.exists()
    assert not unreported.exists()


@pytest.mark.parametrize("name", ["fence-1.bak", "fence-x", "fence-01"])
def test_a_folder_that_is_no_attempts_is_left_alone(engine: Engine, artifacts: Artifacts, name: str) -> None:
    """A manual copy of an attempt's folder."""
    claim = claimed(engine, make_job(engine))
    whole, left = checkpoint(artifacts, claim, 1), unfinished(artifacts, claim)
    artifacts.attempt(claim.job_id, claim.fence).rename(artifacts.root / "jobs" / claim.job_id / name)
    fresh = unfinished(artifacts, claim)
    end(engine, claim)
    cleanup.clear(engine, artifacts)
    assert not fresh.exists()
    for path in (whole, left):
        assert Path(str(path).replace("fence-1", name)).exists()


def test_a_job_that_the_database_does_not_know_is_left_alone(engine: Engine, artifacts: Artifacts) -> None:
    """Another database may, or a backup that is restored next."""
    claim = claimed(engine, make_job(engine))
    stranger = Claim("job_stranger", 1, 1, claim.stored_spec, {}, claim.tenant)
    path = checkpoint(artifacts, stranger, 1)
    left = unfinished(artifacts, stranger)
    cleanup.clear(engine, artifacts)
    assert path.exists()
    assert left.exists()


def test_an_upload_or_a_copy_that_broke_off_is_garbage_after_a_day(engine: Engine, artifacts: Artifacts) -> None:
    under_way, abandoned = artifacts.upload("ds_new"), artifacts.upload("ds_old")
    whole = artifacts.dataset("ds_whole")
    whole.parent.mkdir(parents=True)
    fetched = whole.with_name(".ds_whole.jsonl.0a1b2c3d.tmp")
    for path in (under_way, abandoned, whole, fetched):
        path.write_text("{}")
    day_ago = time.time() - cleanup.UPLOAD_ABANDONED_S - 60
    for path in (abandoned, whole, fetched):
        os.utime(path, (day_ago, day_ago))
    cleanup.clear(engine, artifacts)
    assert under_way.exists()
    assert whole.exists()
    assert not abandoned.exists()
    assert not fetched.exists()


def test_an_upload_that_can_be_resumed_is_kept_until_it_expires(engine: Engine, artifacts: Artifacts) -> None:
    settings = Settings(data_dir=artifacts.root, upload_expiry_s=7 * 24 * 3600.0)
    with unit_of_work(engine) as session:
        growing, expired = (uploads.create(session, settings, name="n", size=9, sha256=None) for _ in range(2))
        expired.expires_at = 0.0
    given_up = artifacts.upload("up_given_up")
    files = [artifacts.upload(growing.id), artifacts.upload(expired.id), given_up]
    files[0].parent.mkdir(parents=True)
    days_ago = time.time() - 2 * cleanup.UPLOAD_ABANDONED_S
    for path in files:
        path.write_text("{}")
        os.utime(path, (days_ago, days_ago))
    cleanup.clear(engine, artifacts)
    assert [path.exists() for path in files] == [True, False, False]
    with unit_of_work(engine) as session:
        assert [row.id for row in session.scalars(select(Upload))] == [growing.id]


def test_of_a_deleted_dataset_the_file_goes_too(engine: Engine, artifacts: Artifacts) -> None:
    """Whoever deleted it died after the commit."""
    kept, deleted = artifacts.dataset("ds_kept"), artifacts.dataset("ds_deleted")
    kept.parent.mkdir(parents=True)
    with unit_of_work(engine) as session:
        for path in (kept, deleted):
            path.write_text("{}")
            facts = {"rows": 1, "references": 0, "rewards": 0, "bytes": 2, "sha256": "x"}
            session.add(Dataset(id=path.stem, tenant="default", name="n", **facts))
        session.flush()
        datasets.delete(session, "ds_deleted")
    cleanup.clear(engine, artifacts)
    assert kept.exists()
    assert not deleted.exists()


def test_of_a_deleted_dataset_the_object_and_every_copy_go(engine: Engine, bucket: str, tmp_path: Path) -> None:
    one, two = (Artifacts.of(Settings(data_dir=tmp_path / name, artifacts_url=bucket)) for name in ("one", "two"))
    with unit_of_work(engine) as session:
        for dataset_id in ("ds_kept", "ds_deleted"):
            path = one.dataset(dataset_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
            one.objects.publish(one.relative(path))
            two.fetched(dataset_id)
            facts = {"rows": 1, "references": 0, "rewards": 0, "bytes": 2, "sha256": "x"}
            session.add(Dataset(id=dataset_id, tenant="default", name="n", **facts))
        session.flush()
        datasets.delete(session, "ds_deleted")
    for machine in (one, two):
        cleanup.clear(engine, machine)
        assert [path.name for path in (machine.root / "datasets").iterdir()] == ["ds_kept.jsonl"]
    assert one.objects.datasets() == {"datasets/ds_kept.jsonl"}


def test_answers_to_idempotent_requests_are_forgotten_after_a_week(engine: Engine, artifacts: Artifacts) -> None:
    with unit_of_work(engine) as session:
        for tenant in ("acme", "other"):
            for key, age in (("old", idempotency.KEPT_S + 60), ("young", idempotency.KEPT_S - 60)):
                session.add(IdempotentResponse(tenant=tenant, key=key, request="r", body={}, created_at=now() - age))
    cleanup.clear(engine, artifacts)
    with unit_of_work(engine) as session:
        assert set(session.scalars(select(IdempotentResponse.key))) == {"young"}
        assert session.scalar(select(func.count()).select_from(IdempotentResponse)) == 2


def test_a_second_time_nothing_is_left_to_do(engine: Engine, artifacts: Artifacts) -> None:
    claim = claimed(engine, make_job(engine))
    unfinished(artifacts, claim)
    end(engine, claim)
    cleanup.clear(engine, artifacts)
    before = sorted(artifacts.root.rglob("*"))
    cleanup.clear(engine, artifacts)
    assert sorted(artifacts.root.rglob("*")) == before
