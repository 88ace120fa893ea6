"""The broker emptied, away, frozen, flapping and lying: rows 9, 10, 11, 13 and 14 of docs/reliability.md."""

from __future__ import annotations

import base64
import json
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from celery import Celery

from store.broker.celery_app import RUN_JOB, make_celery
from store.settings import Settings
from store.tables import Job
from tests.e2e.conftest import wait_for
from tests.faults.cluster import Cluster

pytestmark = pytest.mark.faults
START_S = 10.0


@pytest.fixture(autouse=True)
def mended(cluster: Cluster) -> Iterator[None]:
    """Redis is there, before and after."""
    yield
    if cluster.redis is not None and cluster.broker_proxy is not None:
        cluster.broker_proxy.release()
        if cluster.redis.process is None:
            cluster.redis.start()
        else:
            cluster.redis.go_on()


@pytest.fixture
def celery(cluster: Cluster) -> Iterator[Celery]:
    """A client that can write to the broker."""
    app = make_celery(Settings(data_dir=cluster.data_dir, broker_url=cluster.redis.url if cluster.redis else ""))
    yield app
    app.close()


def with_redis(cluster: Cluster) -> redis.Redis:
    if cluster.redis is None:
        pytest.skip("the message folder cannot be away")
    return redis.Redis.from_url(cluster.redis.url)


def unread(cluster: Cluster) -> int:
    """Messages that no worker has consumed."""
    if cluster.redis is None:
        return len([path for path in (cluster.data_dir / "broker").glob("*.msg") if path.is_file()])
    with redis.Redis.from_url(cluster.redis.url) as client:
        found = client.llen("celery")
        assert isinstance(found, int)
        return found


def forget_messages(cluster: Cluster) -> None:
    """As Redis does that is killed and keeps nothing on disk."""
    if cluster.redis is None:
        for path in (cluster.data_dir / "broker").glob("*.msg"):
            path.unlink(missing_ok=True)
    else:
        cluster.redis.kill()
        cluster.redis.start()


def flush_messages(cluster: Cluster) -> None:
    with_redis(cluster).flushall()


def started_soon(jobs: list[Job], since: float) -> None:
    """Each job has begun within ten seconds of the moment when the only slot was free for it."""
    starts = sorted(job.started_at or 0.0 for job in jobs)
    free = [since, *sorted(job.finished_at or 0.0 for job in jobs)]
    late = [start - max(end, since) for start, end in zip(starts, free, strict=False)]
    assert max(late) < START_S, late


@pytest.mark.parametrize("lose", [forget_messages, flush_messages])
def test_queued_jobs_whose_messages_are_lost_start_all_the_same(
    cluster: Cluster, lose: Callable[[Cluster], None]
) -> None:
    if lose is flush_messages:
        with_redis(cluster)  # skips while nothing runs yet
    running = cluster.submit(steps=60)
    cluster.until(running, "running", step=1)
    waiting = [cluster.submit(steps=1) for _ in range(20)]
    lose(cluster)
    (first,) = cluster.finish(running)
    assert (first.state, first.attempt) == ("succeeded", 1)
    jobs = cluster.finish(*waiting, timeout_s=240)
    assert {(job.state, job.attempt) for job in jobs} == {("succeeded", 1)}
    started_soon(jobs, first.finished_at or 0.0)


def away(cluster: Cluster) -> None:
    assert cluster.redis is not None
    cluster.redis.kill()


def frozen(cluster: Cluster) -> None:
    assert cluster.redis is not None
    cluster.redis.stop()


def half_open(cluster: Cluster) -> None:
    assert cluster.broker_proxy is not None
    cluster.broker_proxy.hold()


@pytest.mark.parametrize("fault", [away, frozen, half_open])
def test_jobs_are_accepted_at_once_and_run_while_redis_is_away(
    cluster: Cluster, fault: Callable[[Cluster], None], record_property: Callable[[str, object], None]
) -> None:
    with_redis(cluster)
    before = cluster.submit(steps=60)
    cluster.until(before, "running", step=1)
    spec = {**cluster.job(before).spec, "schedule": {**cluster.job(before).spec["schedule"], "steps": 1}}
    fault(cluster)
    ids, took = [], []
    with httpx.Client(base_url=cluster.url, headers=cluster.headers, timeout=30, trust_env=False) as client:
        for _ in range(50):
            asked = time.monotonic()
            answer = client.post("/jobs", json=spec)
            took.append(time.monotonic() - asked)
            assert answer.status_code == 201, answer.text
            ids.append(answer.json()["id"])
        assert client.get("/readyz").status_code == 200
    cluster.accepted.update(ids)
    slowest = sorted(took)[int(0.99 * len(took))]
    print(f"POST /jobs while Redis is {fault.__name__}: median {sorted(took)[25]:.3f} s, p99 {slowest:.3f} s")
    assert slowest < 1.0
    for job_id in ids[5:]:
        cluster.client.jobs.cancel(job_id)
    jobs = cluster.finish(before, *ids[:5], timeout_s=120)
    assert {(job.state, job.attempt) for job in jobs} == {("succeeded", 1)}
    started_soon(jobs[1:], jobs[0].finished_at or 0.0)


def test_a_worker_that_starts_while_redis_is_away_works(cluster: Cluster) -> None:
    with_redis(cluster)
    cluster.kill("worker")
    away(cluster)
    cluster.restart_dead(print)
    (job,) = cluster.finish(cluster.submit(steps=2))
    assert (job.state, job.attempt) == ("succeeded", 1)


def test_a_message_that_comes_many_times_starts_one_attempt(cluster: Cluster, celery: Celery) -> None:
    cluster.start_worker("worker-2")
    copies = 80 if cluster.redis else 8  # of a folder, a worker takes about one message a second
    job_id = cluster.submit(steps=40)
    for _ in range(copies // 4):
        celery.send_task(RUN_JOB, args=[job_id])
    cluster.until(job_id, "running", step=1)
    for _ in range(copies):
        celery.send_task(RUN_JOB, args=[job_id])
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt, job.fence) == ("succeeded", 1, 1)
    celery.send_task(RUN_JOB, args=[job_id])
    wait_for(lambda: unread(cluster) == 0, timeout_s=30)
    assert cluster.job(job_id).attempt == 1


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self._path,)


FORGED: dict[str, Callable[[Celery, Path], Any]] = {
    "unknown-task": lambda app, trap: app.send_task("os.system", args=[f"touch {trap}"]),
    "unknown-job": lambda app, trap: app.send_task(RUN_JOB, args=["job_unknown"]),
    "path-for-a-job": lambda app, trap: app.send_task(RUN_JOB, args=["../../etc"]),
    "nul-in-a-job": lambda app, trap: app.send_task(RUN_JOB, args=["job_\x00"]),
    "object-for-a-job": lambda app, trap: app.send_task(RUN_JOB, args=[{"$ne": None}]),
    "list-for-a-job": lambda app, trap: app.send_task(RUN_JOB, args=[[1, 2]]),
    "nothing-for-a-job": lambda app, trap: app.send_task(RUN_JOB, args=[None]),
    "no-arguments": lambda app, trap: app.send_task(RUN_JOB),
    "too-many-arguments": lambda app, trap: app.send_task(RUN_JOB, args=list("abc"), kwargs={"job_id": "x"}),
    "ten-megabytes": lambda app, trap: app.send_task(RUN_JOB, args=["x" * 10_000_000]),
    "pickle": lambda app, trap: app.send_task(RUN_JOB, args=[Trap(trap)], serializer="pickle"),
    "far-future": lambda app, trap: app.send_task(RUN_JOB, args=["job_unknown"], countdown=10**6),
    "expired": lambda app, trap: app.send_task(RUN_JOB, args=["job_unknown"], expires=-1),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_message_is_dropped(cluster: Cluster, celery: Celery, tmp_path: Path, forgery: str) -> None:
    pid = cluster.pid("worker")
    FORGED[forgery](celery, tmp_path / "trap")
    (job,) = cluster.finish(cluster.submit(steps=1))
    assert (job.state, job.attempt) == ("succeeded", 1)
    wait_for(lambda: unread(cluster) == 0, timeout_s=30)  # messages are still taken, not only looked past
    cluster.check()
    assert cluster.pid("worker") == pid
    assert not (tmp_path / "trap").exists()


def envelope(**fields: Any) -> bytes:
    """A message as the transports store it, with some fields replaced."""
    properties = {
        "correlation_id": "c", "delivery_mode": 2, "delivery_tag": "t", "body_encoding": "base64", "priority": 0,
        "delivery_info": {"exchange": "", "routing_key": "celery"},
    }  # fmt: skip
    body = base64.b64encode(json.dumps([["job_unknown"], {}, {}]).encode()).decode()
    headers = {"task": RUN_JOB, "id": "c", "lang": "py"}
    whole = {"body": body, "content-encoding": "utf-8", "content-type": "application/json", "headers": headers}
    return json.dumps({**whole, "properties": properties, **fields}).encode()


GARBAGE: dict[str, bytes] = {
    "not-json": b"\x80\x04 garbage",
    "empty": b"",
    "number": b"7",
    "list": b"[]",
    "no-properties": b"{}",
    "null-properties": envelope(properties=None),
    "body-not-base64": envelope(body="%%%"),
    "body-not-json": envelope(body=base64.b64encode(b"{").decode()),
    "unknown-content": envelope(**{"content-type": "application/x-evil"}),
    "unknown-encoding": envelope(**{"content-encoding": "no-such-encoding"}),
    "pickle-as-such": envelope(
        **{"content-type": "application/x-python-serialize", "content-encoding": "binary"},
        body=base64.b64encode(pickle.dumps([["x"], {}, {}])).decode(),
    ),
    "no-headers": envelope(headers=None),
    "no-task": envelope(headers={"id": "c"}),
}


def put_raw(cluster: Cluster, content: bytes, name: str) -> None:
    if cluster.redis is None:
        (cluster.data_dir / "broker" / f"1_{name}.celery.msg").write_bytes(content)
    else:
        with redis.Redis.from_url(cluster.redis.url) as client:
            client.rpush("celery", content)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_in_the_queue_is_dropped(cluster: Cluster, garbage: str) -> None:
    pid = cluster.pid("worker")
    for copy in range(3):
        put_raw(cluster, GARBAGE[garbage], f"{garbage}-{copy}")
    (job,) = cluster.finish(cluster.submit(steps=1))
    assert (job.state, job.attempt) == ("succeeded", 1)
    wait_for(lambda: unread(cluster) == 0, timeout_s=30)
    cluster.check()
    assert cluster.pid("worker") == pid


def test_strange_files_in_the_message_folder_are_left_alone(cluster: Cluster) -> None:
    if cluster.redis is not None:
        pytest.skip("Redis has no folder")
    pid, folder = cluster.pid("worker"), cluster.data_dir / "broker"
    (folder / "2_folder.celery.msg").mkdir()
    (folder / "2_link.celery.msg").symlink_to("/nowhere")
    (folder / "README").write_text("?")
    (folder / "2_other.queue.msg").write_bytes(b"?")
    jobs = cluster.finish(*[cluster.submit(steps=1) for _ in range(2)])
    assert {(job.state, job.attempt) for job in jobs} == {("succeeded", 1)}
    cluster.check()
    assert cluster.pid("worker") == pid
    for path in (folder / "2_other.queue.msg", folder / "2_link.celery.msg"):
        path.unlink(missing_ok=True)


@pytest.mark.faults_short
def test_a_broker_link_that_is_cut_again_and_again_is_made_again(cluster: Cluster) -> None:
    with_redis(cluster)
    assert cluster.broker_proxy is not None
    job_id = cluster.submit(steps=100)
    cluster.until(job_id, "running", step=1)
    waiting = [job_id]
    for n in range(20):
        cluster.broker_proxy.cut()
        if n % 5 == 0:
            waiting.append(cluster.submit(steps=1))
        time.sleep(0.2)
    jobs = cluster.finish(*waiting, timeout_s=120)
    assert {(job.state, job.attempt) for job in jobs} == {("succeeded", 1)}
    last = cluster.submit(steps=1)
    wait_for(lambda: unread(cluster) == 0, timeout_s=60)  # it listens again
    cluster.finish(last)
