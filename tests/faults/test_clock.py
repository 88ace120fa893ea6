"""Clocks that are an hour off: row 30 of docs/reliability.md.

Leases are measured with the database's clock alone. SQLite has none but that of the process that asks; its processes
share one machine, and so one clock, and are not tested here.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import wait_for
from tests.faults.cluster import INJECT, LEASE_S, Cluster

pytestmark = pytest.mark.faults
HOUR_S = 3600


def skewed(cluster: Cluster, hours: int) -> dict[str, str]:
    """The environment of a process whose wall clock is off."""
    if cluster.postgres is None:
        pytest.skip("SQLite has no clock of its own")
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler to make a wrong clock with")
    library = cluster.data_dir.parent / "skew.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(INJECT / "skew.c"), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "SKEW_S": str(hours * HOUR_S)}


def believes(cluster: Cluster, name: str) -> bool:
    return "skew.so" in Path(f"/proc/{cluster.pid(name)}/maps").read_text()


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("who", ["holder", "onlooker"])
def test_a_worker_whose_clock_is_off_reaps_nobody_and_is_not_reaped(cluster: Cluster, who: str, hours: int) -> None:
    skew = skewed(cluster, hours)
    cluster.kill("worker")
    cluster.faults = skew if who == "holder" else {}
    cluster.restart_dead(print)
    job_id = cluster.submit(steps=int(LEASE_S * 3 / 0.05))
    cluster.until(job_id, "running", step=1)
    cluster.faults = skew if who == "onlooker" else {}
    cluster.start_worker("worker-2")
    (job,) = cluster.finish(job_id)
    assert believes(cluster, "worker" if who == "holder" else "worker-2")
    assert (job.state, job.attempt, job.infra_failures) == ("succeeded", 1, 0)
    for moment in (job.created_at, job.started_at, job.finished_at):
        assert moment is not None
        assert abs(moment - time.time()) < 300


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_retry_waits_as_long_as_it_should_whatever_the_workers_clock_says(cluster: Cluster, hours: int) -> None:
    cluster.faults = skewed(cluster, hours)
    cluster.kill("worker")
    cluster.restart_dead(print)
    job_id = cluster.submit(steps=40)
    cluster.until(job_id, "running", step=6)
    cluster.trainer_of(job_id).kill()
    (job,) = cluster.finish(job_id, timeout_s=60)
    assert (job.state, job.attempt) == ("succeeded", 2)


@pytest.mark.parametrize("hours", [-1, 1])
def test_an_api_whose_clock_is_off_serves_all_the_same(cluster: Cluster, hours: int) -> None:
    before = cluster._environment
    cluster._environment = {**before, **skewed(cluster, hours)}
    cluster.kill("api")
    try:
        cluster.restart_dead(print)
    finally:
        cluster._environment = before
    wait_for(cluster._ready, timeout_s=60)
    date = parsedate_to_datetime(httpx.get(f"{cluster.url}/healthz", trust_env=False).headers["date"]).timestamp()
    assert abs(date - time.time() - hours * HOUR_S) < 300
    job_id = cluster.submit(steps=int(LEASE_S * 2 / 0.05))
    cluster.until(job_id, "running", step=1)
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt) == ("succeeded", 1)
    waiting = cluster.submit(steps=400)
    cluster.until(waiting, "running", step=1)
    cluster.client.jobs.cancel(waiting)
    assert cluster.until(waiting, "cancelled", timeout_s=15).cancel_requested_at == pytest.approx(time.time(), abs=300)
    cluster.kill("api")
    cluster.restart_dead(print)
    wait_for(cluster._ready, timeout_s=60)
