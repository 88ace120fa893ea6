"""The failpoint × state matrix: every process killed with -9 at every point where a job changes hands.

Each case names a function, whether death comes before or after it, at which call, and what the job is doing meanwhile.
The cluster is healed by a second worker or a restart; the job must end as if nothing had happened.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import pytest
from uniapl_client import Client, UniaplClientError

from tests.e2e.conftest import wait_for
from tests.faults.cluster import LEASE_S, Cluster

pytestmark = pytest.mark.faults

WORKER = [  # while the job is …
    # … starting
    ("store.jobs.lifecycle:claim:after", 1),
    ("worker.attempt:_Attempt.run:before", 1),
    ("worker.recovery:recover_previous_attempts:after", 1),
    ("worker.recovery:resume_point:after", 1),
    ("worker.process:start:before", 1),
    ("worker.process:start:after", 1),
    ("worker.attempt:_Attempt._record_group:after", 1),
    ("store.jobs.lifecycle:begin:after", 1),
    # … running
    ("store.jobs.claims:renew:after", 2),
    ("worker.report_relay:Relay._write:before", 3),
    ("worker.report_relay:Relay._write:after", 3),
    ("worker.report_relay:Relay.pump:after", 6),
    ("store.jobs.metrics:put_metrics:after", 8),
    ("store.checkpoints.repository:commit:before", 2),
    ("store.checkpoints.repository:commit:after", 2),
    ("store.checkpoints.retention:expire:after", 3),
    ("worker.report_relay:Relay._remove:before", 3),
    # … finalizing
    ("worker.attempt:_Attempt._relay_the_rest:before", 1),
    ("worker.attempt:_Attempt._relay_the_rest:after", 1),
    ("worker.attempt:_Attempt._record_outcome:before", 1),
    ("store.jobs.lifecycle:succeed:before", 1),
    ("store.jobs.lifecycle:succeed:after", 1),
    ("worker.attempt:_Attempt._record_outcome:after", 1),
]
TRAINER = [
    ("uniapl.run.config:RunConfig.model_validate_json:before", 1),
    ("uniapl.run.manifest:publish:before", 2),
    ("uniapl.run.manifest:_sync_all:before", 2),
    ("uniapl.run.atomic:sync:before", 1),
    ("uniapl.run.atomic:sync:before", 3),
    ("uniapl.run.atomic:sync:after", 4),
    ("uniapl.run.atomic:sync:after", 5),
    ("uniapl.run.manifest:publish:after", 1),
    ("uniapl.run.manifest:publish:after", 4),
    ("uniapl.run.reporter:Reporter.checkpoint:after", 2),
]
API = [
    ("store.jobs.lifecycle:create:before", 1),
    ("store.jobs.lifecycle:create:after", 1),
    ("api.admission.admit:admit:after", 1),
]


def point(path: Path, name: str, nth: int) -> tuple[dict[str, str], Path]:
    """The environment of a process that dies there, and the file that tells that it has."""
    marker = path / "died"
    return {"UNIAPL_TEST_DIE_AT": f"{name}:{nth}:{marker}"}, marker


def finish_and_check(cluster: Cluster, job_id: str, marker: Path) -> None:
    wait_for(marker.exists, timeout_s=30)
    cluster.faults = {}
    wait_for(lambda: cluster.has_ended("worker"), timeout_s=10)
    cluster.restart_dead(print)
    (job,) = cluster.finish(job_id, timeout_s=60)
    assert job.state == "succeeded", job.error
    found = cluster.findings()
    assert (found.violations, found.lost_jobs) == ([], [])
    assert found.max_lost_steps <= 5


@pytest.mark.parametrize(("where", "nth"), WORKER)
def test_a_worker_may_die_anywhere(cluster: Cluster, tmp_path: Path, where: str, nth: int) -> None:
    cluster.kill("worker")
    cluster.faults, marker = point(tmp_path, where, nth)
    cluster.start_worker()
    job_id = cluster.submit(schedule=schedule(keep=2))
    finish_and_check(cluster, job_id, marker)


@pytest.mark.parametrize(("where", "nth"), TRAINER)
def test_a_trainer_may_die_anywhere(cluster: Cluster, tmp_path: Path, where: str, nth: int) -> None:
    cluster.kill("worker")
    cluster.faults, marker = point(tmp_path, where, nth)
    cluster.start_worker()  # hands its environment on
    job_id = cluster.submit()
    wait_for(marker.exists, timeout_s=30)
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt, job.infra_failures) == ("succeeded", 2, 1)
    found = cluster.findings()
    assert (found.violations, found.max_lost_steps <= 5) == ([], True)


@pytest.mark.parametrize(
    ("where", "ask"),
    [
        ("store.jobs.lifecycle:cancelled:before", "cancel"),
        ("store.jobs.lifecycle:cancelled:after", "cancel"),
        ("worker.process:kill_group:after", "cancel"),
        ("store.jobs.lifecycle:preempt:before", "pause"),
        ("store.jobs.lifecycle:preempt:after", "pause"),
    ],
)
def test_a_worker_may_die_while_it_heeds_an_intent(cluster: Cluster, tmp_path: Path, where: str, ask: str) -> None:
    cluster.kill("worker")
    cluster.faults, marker = point(tmp_path, where, 1)
    cluster.start_worker()
    job_id = cluster.submit(steps=400)
    cluster.until(job_id, "running", step=6)
    getattr(cluster.client.jobs, ask)(job_id)
    wait_for(marker.exists, timeout_s=30)
    cluster.faults = {}
    wait_for(lambda: cluster.has_ended("worker"), timeout_s=10)
    cluster.restart_dead(print)
    wanted = "cancelled" if ask == "cancel" else "paused"
    cluster.until(job_id, wanted, timeout_s=LEASE_S + 20)
    assert cluster.trainers() == []
    if wanted == "paused":
        cluster.client.jobs.cancel(job_id)


@pytest.mark.parametrize("where", ["store.jobs.lifecycle:preempt:before", "store.jobs.lifecycle:preempt:after"])
def test_a_worker_may_die_while_it_drains(cluster: Cluster, tmp_path: Path, where: str) -> None:
    cluster.kill("worker")
    cluster.faults, marker = point(tmp_path, where, 1)
    cluster.start_worker()
    job_id = cluster.submit(steps=150)  # it would be over before a busy machine's worker hears of the signal
    cluster.until(job_id, "running", step=6)
    os.kill(cluster.pid("worker"), signal.SIGTERM)
    finish_and_check(cluster, job_id, marker)


@pytest.mark.parametrize("where", ["worker.sweeper:Sweeper._reap:before", "worker.sweeper:Sweeper._reap:after"])
def test_a_sweeper_may_die_while_it_reaps(cluster: Cluster, tmp_path: Path, where: str) -> None:
    job_id = cluster.submit(steps=60)
    cluster.until(job_id, "running", step=6)
    cluster.kill("worker")
    cluster.faults, marker = point(tmp_path, where, 1)
    cluster.start_worker()
    finish_and_check(cluster, job_id, marker)
    assert cluster.job(job_id).infra_failures == 1


@pytest.mark.parametrize(("where", "nth"), API)
def test_an_api_that_dies_in_a_request_has_made_one_job_or_none(
    cluster: Cluster, tmp_path: Path, where: str, nth: int
) -> None:
    before = len(list(cluster.client.jobs.list()))
    cluster.kill("api")
    cluster.faults, marker = point(tmp_path, where, nth)
    cluster.start_api()
    wait_for(lambda: answers(cluster), timeout_s=30)
    cluster.client.close()
    cluster.client = Client(cluster.url, api_key=cluster.api_key, max_retries=0)
    with pytest.raises(UniaplClientError):
        cluster.submit()
    assert marker.exists()
    cluster.faults = {}
    wait_for(lambda: cluster.has_ended("api"))
    cluster.restart_dead(print)
    wait_for(lambda: answers(cluster), timeout_s=30)
    jobs = list(cluster.client.jobs.list())
    assert len(jobs) - before == (1 if where == "api.admission.admit:admit:after" else 0)
    if len(jobs) > before:  # no message was sent for it
        assert cluster.finish(jobs[0].id)[0].state == "succeeded"


def answers(cluster: Cluster) -> bool:
    try:
        return httpx.get(f"{cluster.url}/readyz", trust_env=False, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def schedule(*, keep: int) -> dict[str, int]:
    return {"steps": 20, "prompts_per_step": 1, "checkpoint_every": 5, "keep_checkpoints": keep}
