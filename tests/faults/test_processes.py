"""Processes killed, frozen and multiplied: rows 1 to 5, 12, 23, 46 and 47 of docs/reliability.md."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from store.db import IDLE_MS
from tests.e2e.conftest import wait_for
from tests.faults.cluster import LEASE_S, Cluster, settled

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("step", [0, 3, 5, 11])
def test_a_trainer_killed_in_a_step_costs_at_most_one_interval(cluster: Cluster, step: int) -> None:
    job_id = cluster.submit()
    cluster.until(job_id, "starting", "running", step=step)
    cluster.trainer_of(job_id).kill()
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt, job.infra_failures, job.user_failures) == ("succeeded", 2, 1, 0)
    found = cluster.findings()
    assert (found.violations, found.lost_jobs) == ([], [])
    assert found.max_lost_steps <= 5


@pytest.mark.faults_short
def test_a_killed_worker_takes_its_trainer_along_and_another_goes_on(cluster: Cluster) -> None:
    job_id = cluster.submit(steps=60)
    cluster.until(job_id, "running", step=6)
    cluster.start_worker("worker-2")
    killed_at = time.monotonic()
    cluster.kill("worker")
    wait_for(lambda: not cluster.trainers(), timeout_s=3)
    job = cluster.until(job_id, "running", "succeeded", step=7)
    wait_for(lambda: cluster.job(job_id).attempt == 2, timeout_s=LEASE_S + 10)
    assert time.monotonic() - killed_at < LEASE_S + 10
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    assert any(message.startswith("resumed after step") for message in cluster.messages(job_id))


def test_grandchildren_of_a_killed_worker_are_buried_by_the_next_claimant(cluster: Cluster) -> None:
    job_id = cluster.submit(steps=40, name="fork")
    cluster.until(job_id, "running", step=6)
    cluster.kill("worker")
    assert settled(lambda: len(cluster.trainers()) == 1)  # the grandchild, which PR_SET_PDEATHSIG does not reach
    orphan = cluster.trainers()[0].pid
    cluster.restart_dead(print)
    wait_for(lambda: cluster.job(job_id).attempt == 2, timeout_s=LEASE_S + 10)
    wait_for(lambda: orphan not in {process.pid for process in cluster.trainers()}, timeout_s=5)
    assert cluster.finish(job_id)[0].state == "succeeded"


@pytest.mark.faults_short
def test_a_worker_that_was_frozen_past_its_lease_can_write_nothing(cluster: Cluster) -> None:
    job_id = cluster.submit(steps=150)
    cluster.until(job_id, "running", step=6)
    cluster.freeze("worker")
    cluster.start_worker("worker-2")
    wait_for(lambda: cluster.job(job_id).attempt == 2, timeout_s=LEASE_S + 25)
    cluster.go_on("worker")
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    wait_for(lambda: "is no longer held under fence 1" in cluster.log("worker").read_text(), timeout_s=10)


def test_a_worker_frozen_inside_a_transaction_does_not_hold_its_job_for_ever(cluster: Cluster, tmp_path: Path) -> None:
    if cluster.postgres is None:
        pytest.skip("SQLite has one lock for all; whoever stops its holder stops the service")
    cluster.kill("worker")
    cluster.faults = {"UNIAPL_TEST_STOP_AT": f"worker.report_relay:Relay._write:after:6:{tmp_path / 'stopped'}"}
    cluster.start_worker()
    job_id = cluster.submit(steps=60)
    wait_for((tmp_path / "stopped").exists)
    cluster.faults = {}
    cluster.start_worker("worker-2")
    wait_for(lambda: cluster.job(job_id).attempt == 2, timeout_s=IDLE_MS / 1000 + LEASE_S + 20)
    cluster.go_on("worker")
    assert cluster.finish(job_id)[0].state == "succeeded"


def test_a_machine_that_falls_silent_is_replaced(cluster: Cluster) -> None:
    job_id = cluster.submit(steps=60)
    cluster.until(job_id, "running", step=6)
    trainer = cluster.trainer_of(job_id)
    cluster.freeze("worker")
    os.kill(trainer.pid, signal.SIGSTOP)
    cluster.start_worker("worker-2")
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)


def test_a_hung_trainer_is_found_out_with_its_stacks_in_the_log(cluster: Cluster) -> None:
    cluster.kill("worker")
    cluster.faults = {"UNIAPL_HANG_MIN_S": "2"}
    cluster.restart_dead(print)
    job_id = cluster.submit(name="hang@8")
    wait_for(lambda: cluster.job(job_id).infra_failures == 1, timeout_s=30)
    message = next(m for m in cluster.messages(job_id) if "no progress" in m)
    assert "while training" in message
    log = cluster.data_dir / "jobs" / job_id / "fence-1" / "trainer.log"
    assert "_misbehave" in log.read_text()
    (job,) = cluster.finish(job_id)  # it hangs at the same step every time
    assert job.error is not None
    assert (job.state, job.error["code"]) == ("failed", "no_progress")
    assert "_misbehave" in job.error["log_tail"]


def test_a_frozen_trainer_is_found_out_too(cluster: Cluster) -> None:
    cluster.kill("worker")
    cluster.faults = {"UNIAPL_HANG_MIN_S": "2", "UNIAPL_PHASE_LIMIT_S": "20"}  # it may be saving when it freezes
    cluster.restart_dead(print)
    job_id = cluster.submit(steps=40)
    cluster.until(job_id, "running", step=6)
    os.kill(cluster.trainer_of(job_id).pid, signal.SIGSTOP)
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt, job.infra_failures) == ("succeeded", 2, 1)


@pytest.mark.faults_short
def test_three_sweepers_reap_a_lost_job_once(cluster: Cluster) -> None:
    job_id = cluster.submit(steps=60)
    cluster.until(job_id, "running", step=6)
    for name in ("worker-2", "worker-3", "worker-4"):
        cluster.start_worker(name)
    cluster.kill("worker")
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt, job.infra_failures) == ("succeeded", 2, 1)
    assert sum("stopped renewing" in message for message in cluster.messages(job_id)) == 1


def test_a_job_that_makes_no_progress_is_given_up_after_three_attempts(cluster: Cluster) -> None:
    job_id = cluster.submit(checkpoint_every=20)
    for attempt in (1, 2, 3):
        wait_for(lambda n=attempt: cluster.job(job_id).attempt == n and cluster.job(job_id).state == "running")
        cluster.trainer_of(job_id).kill()
    (job,) = cluster.finish(job_id)
    assert job.error is not None
    assert (job.state, job.attempt, job.error["code"]) == ("failed", 3, "no_progress")


def test_a_lack_of_memory_is_tried_once_more_and_a_divergence_is_not(cluster: Cluster) -> None:
    for name, code, attempts in (("nan@7", "diverged", 1), ("oom@7", "out_of_memory", 2)):
        (job,) = cluster.finish(cluster.submit(name=name))
        assert job.error is not None
        assert (job.state, job.attempt, job.error["code"]) == ("failed", attempts, code)
        assert ("resumed after step 5" in cluster.messages(job.id)) == (attempts == 2)
