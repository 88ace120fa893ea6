"""The database stopped, frozen, locked, cut off, deaf and restored: rows 15, 16, 17 and 49 of docs/reliability.md."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, func, select, text

from store.artifacts.paths import Artifacts
from store.db import reading
from store.jobs import lifecycle
from store.tables import Attempt, Event, Job
from tests.e2e.conftest import wait_for
from tests.faults.cluster import LEASE_S, Cluster

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def mended(cluster: Cluster) -> Iterator[None]:
    """Postgres is there, before and after."""
    yield
    if cluster.postgres is not None and cluster.database_proxy is not None:
        cluster.database_proxy.release()
        cluster.database_proxy.accept()
        if cluster.postgres.process is None:
            cluster.postgres.start()


def needs_postgres(cluster: Cluster) -> None:
    if cluster.postgres is None:
        pytest.skip("a file cannot be away")


def needs_sqlite(cluster: Cluster) -> None:
    if cluster.postgres is not None:
        pytest.skip("Postgres has no such lock")


def stop(cluster: Cluster, seconds: float) -> None:
    assert cluster.postgres is not None
    cluster.postgres.stop_at_once()
    for method, path in (("GET", "/jobs"), ("GET", "/readyz"), ("POST", "/jobs")):
        spec = {"student": "tiny-random-llama", "dataset_mix": [{"dataset": cluster.dataset}]}
        answer = httpx.request(
            method, cluster.url + path, headers=cluster.headers, json=spec, timeout=30, trust_env=False
        )
        assert (answer.status_code, answer.headers.get("retry-after")) == (503, "5"), answer.text
    assert httpx.get(f"{cluster.url}/healthz", trust_env=False).status_code == 200
    time.sleep(seconds)
    cluster.postgres.start()


def freeze(cluster: Cluster, seconds: float) -> None:
    """Connections stay, and nothing comes through."""
    assert cluster.database_proxy is not None
    cluster.database_proxy.hold()
    time.sleep(seconds)
    cluster.database_proxy.release()


@pytest.mark.parametrize("fault", [stop, freeze])
@pytest.mark.parametrize("seconds", [LEASE_S / 2, LEASE_S * 2])
def test_a_trainer_goes_on_while_the_database_is_away_and_no_attempt_is_lost(
    cluster: Cluster, fault: Callable[[Cluster, float], None], seconds: float
) -> None:
    needs_postgres(cluster)
    cluster.start_worker("worker-2")  # it could reap
    job_id = cluster.submit(steps=300)
    cluster.until(job_id, "running", step=6)
    trainer = cluster.trainer_of(job_id)
    fault(cluster, seconds)
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt, job.infra_failures) == ("succeeded", 1, 0)
    assert not trainer.is_running()
    assert cluster.client.jobs.get(job_id).state == "succeeded"


def test_a_trainer_that_ends_while_the_database_is_away_is_settled_afterwards(cluster: Cluster) -> None:
    needs_postgres(cluster)
    assert cluster.postgres is not None
    job_id = cluster.submit(steps=40)
    cluster.until(job_id, "running", step=2)
    cluster.postgres.stop_at_once()
    wait_for(lambda: not cluster.trainers(), timeout_s=30)
    time.sleep(1)
    cluster.postgres.start()
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt, job.infra_failures) == ("succeeded", 1, 0)


@pytest.mark.parametrize(
    "where", ["worker.recovery:recover_previous_attempts:before", "worker.recovery:resume_point:before"]
)
def test_an_attempt_that_begins_while_the_database_is_away_is_not_lost(
    cluster: Cluster, tmp_path: Path, where: str
) -> None:
    needs_postgres(cluster)
    assert cluster.postgres is not None
    marker = tmp_path / "stopped"
    cluster.kill("worker")
    cluster.faults = {"UNIAPL_TEST_STOP_AT": f"{where}:1:{marker}"}
    cluster.start_worker()
    job_id = cluster.submit(steps=20)
    wait_for(marker.exists, timeout_s=30)
    cluster.postgres.stop_at_once()
    cluster.go_on("worker")
    time.sleep(2)
    cluster.postgres.start()
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt, job.infra_failures) == ("succeeded", 1, 0)


@pytest.mark.faults_short
def test_connections_that_are_cut_again_and_again_cost_nothing(cluster: Cluster) -> None:
    needs_postgres(cluster)
    assert cluster.database_proxy is not None
    job_id = cluster.submit(steps=200)
    cluster.until(job_id, "running", step=1)
    for _ in range(20):
        cluster.database_proxy.cut()
        time.sleep(0.25)
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt, job.infra_failures) == ("succeeded", 1, 0)


def test_a_post_whose_commit_is_not_answered_makes_one_job(cluster: Cluster) -> None:
    needs_postgres(cluster)
    assert cluster.database_proxy is not None
    before = cluster.database_proxy.triggered
    cluster.database_proxy.cut_after_request(b"COMMIT", b"the answer is lost")
    job_id = cluster.submit(steps=1, name="the answer is lost")
    assert cluster.database_proxy.triggered == before + 1
    with reading(cluster.engine) as session:
        named = select(func.count()).select_from(Job).where(Job.name == "the answer is lost")
        assert session.scalar(named) == 1
    assert cluster.finish(job_id)[0].state == "succeeded"


@pytest.mark.parametrize(
    ("said", "attempts"),
    [
        ("job is starting", 2),  # the claim: its holder does not learn of it, and the lease expires
        ("job is running", 1),  # the relay
        ("checkpoint saved at step 5", 1),
        ("job is succeeded", 1),  # the settlement
    ],
)
def test_a_holders_commit_that_is_not_answered_has_its_effect_once(cluster: Cluster, said: str, attempts: int) -> None:
    needs_postgres(cluster)
    assert cluster.database_proxy is not None
    before = cluster.database_proxy.triggered
    cluster.database_proxy.cut_after_request(b"COMMIT", said.encode())
    job_id = cluster.submit(steps=20)
    (job,) = cluster.finish(job_id)
    assert cluster.database_proxy.triggered == before + 1
    assert (job.state, job.attempt) == ("succeeded", attempts)
    assert cluster.messages(job_id).count(said) == attempts


def locked(path: Path, seconds: float) -> threading.Thread:
    """Another process' exclusive lock, already taken when this returns."""
    taken = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            taken.set()
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    return thread


def test_a_locked_database_file_is_waited_for(cluster: Cluster) -> None:
    needs_sqlite(cluster)
    cluster.start_worker("worker-2")
    running = cluster.submit(steps=250)
    cluster.until(running, "running", step=6)
    lock = locked(cluster.data_dir / "uniapl.db", 8.0)
    asked = time.monotonic()
    job_id = cluster.submit(steps=1)
    assert 6.0 < time.monotonic() - asked < 20.0
    assert cluster.client.jobs.get(running).state == "running"
    lock.join()
    for job in cluster.finish(running, job_id):
        assert (job.state, job.attempt, job.infra_failures) == ("succeeded", 1, 0)


def test_a_database_file_that_stays_locked_is_a_503(cluster: Cluster) -> None:
    needs_sqlite(cluster)
    lock = locked(cluster.data_dir / "uniapl.db", 36.0)
    spec = {"student": "tiny-random-llama", "dataset_mix": [{"dataset": cluster.dataset}]}
    answer = httpx.post(f"{cluster.url}/jobs", headers=cluster.headers, json=spec, timeout=60, trust_env=False)
    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "5"), answer.text
    lock.join()
    assert cluster.finish(cluster.submit(steps=1))[0].state == "succeeded"


def backup(cluster: Cluster) -> None:
    if cluster.postgres is None:
        with _files(cluster) as (live, copy):
            live.backup(copy)
    else:
        _while_cut_off(cluster, "DROP DATABASE IF EXISTS backup", "CREATE DATABASE backup TEMPLATE uniapl")


def restore(cluster: Cluster) -> None:
    if cluster.postgres is None:
        with _files(cluster) as (live, copy):
            copy.backup(live)
    else:
        _while_cut_off(cluster, "DROP DATABASE uniapl WITH (FORCE)", "CREATE DATABASE uniapl TEMPLATE backup")


@contextmanager
def _files(cluster: Cluster) -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    folder = cluster.data_dir
    with (
        closing(sqlite3.connect(folder / "uniapl.db", timeout=30)) as live,
        closing(sqlite3.connect(folder / "backup.db")) as copy,
    ):
        yield live, copy


def _while_cut_off(cluster: Cluster, *statements: str) -> None:
    assert cluster.postgres is not None
    assert cluster.database_proxy is not None
    cluster.database_proxy.refuse()
    cluster.engine.dispose()
    admin = create_engine(cluster.postgres.admin_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        gone = text("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'uniapl'")
        wait_for(lambda: connection.execute(gone).scalar_one(), timeout_s=10)
        for statement in statements:
            connection.execute(text(statement))
    admin.dispose()
    cluster.database_proxy.accept()


def fences(cluster: Cluster, job_id: str) -> list[int]:
    """As stored in the database."""
    with reading(cluster.engine) as session:
        return list(session.scalars(select(Attempt.fence).where(Attempt.job_id == job_id).order_by(Attempt.fence)))


def test_a_holder_that_a_restored_database_does_not_know_is_fenced(cluster: Cluster) -> None:
    job_id = cluster.submit(steps=200)
    cluster.until(job_id, "running", step=6)
    backup(cluster)
    cluster.kill("worker")
    cluster.start_worker("worker-2")
    wait_for(lambda: cluster.job(job_id).attempt == 2, timeout_s=30)
    cluster.until(job_id, "running", step=12)
    restore(cluster)
    wait_for(lambda: "is no longer held under fence 2" in cluster.log("worker-2").read_text(), timeout_s=30)
    (job,) = cluster.finish(job_id)
    assert (job.state, job.fence) == ("succeeded", 3)
    assert fences(cluster, job_id) == [1, 3]  # fence 2 has written on this disk, and is not given out again
    assert Artifacts(cluster.data_dir).fences(job_id) == [1, 2, 3]


def test_a_holder_that_a_restored_database_still_knows_catches_up(cluster: Cluster) -> None:
    job_id = cluster.submit(steps=120)
    cluster.until(job_id, "running", step=6)
    backup(cluster)
    cluster.until(job_id, "running", step=30)
    restore(cluster)
    (job,) = cluster.finish(job_id)
    assert job.state == "succeeded"
    with reading(cluster.engine) as session:
        said = list(session.scalars(select(Event.message).where(Event.job_id == job_id)))
        assert lifecycle.get(session, job_id).infra_failures <= 1
    assert len({message for message in said if message.startswith("checkpoint saved at step")}) == 120 / 5
