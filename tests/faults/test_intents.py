"""Cancelled, paused and drained at every moment: rows 31 to 35 of docs/reliability.md."""

from __future__ import annotations

import os
import random
import signal
import statistics
import threading
import time

import psutil
import pytest
from uniapl_client import ConflictError

from store.states import TERMINAL
from tests.e2e.conftest import wait_for
from tests.faults.cluster import Cluster, settled
from tests.faults.invariants import Findings

pytestmark = pytest.mark.faults
CANCEL_S = 15.0
ACTIVE = ("starting", "running", "finalizing")


def worker_with(cluster: Cluster, **settings: str) -> None:
    """Replace the worker by one with other settings."""
    cluster.kill("worker")
    cluster.faults = settings
    cluster.restart_dead(print)


def fine(found: Findings) -> None:
    assert (found.violations, found.lost_jobs) == ([], [])


def test_a_queued_job_is_cancelled_at_once_with_no_worker_there(cluster: Cluster) -> None:
    cluster.kill("worker")
    job_id = cluster.submit()
    assert cluster.client.jobs.cancel(job_id).state == "cancelled"
    assert cluster.job(job_id).finished_at is not None
    cluster.restart_dead(print)  # its message is still there
    assert cluster.finish(cluster.submit(steps=1))[0].state == "succeeded"
    assert (cluster.job(job_id).state, cluster.job(job_id).attempt) == ("cancelled", 0)


def cancel(cluster: Cluster, job_id: str) -> float:
    """Seconds until the row has the state; by then no process of the job may be alive."""
    asked = time.monotonic()
    cluster.client.jobs.cancel(job_id)
    while True:
        job = cluster.job(job_id)
        if job.state in TERMINAL:
            alive = [process for process in cluster.trainers() if job_id in " ".join(process.info["cmdline"])]
            assert alive == [], f"the row says {job.state}, and {alive} still run"
            assert job.state == "cancelled"
            return time.monotonic() - asked
        assert time.monotonic() - asked < 60
        time.sleep(0.005)


def test_whenever_it_is_cancelled_the_trainer_is_dead_before_the_row_says_so(cluster: Cluster) -> None:
    took = []
    for n in range(20):
        job_id = cluster.submit(steps=400, name="fork" if n % 2 else "plain")
        wait_for(lambda j=job_id: cluster.job(j).state != "queued", timeout_s=30)
        time.sleep(n * 0.15)  # while it is claimed, started, imported, and at its steps
        took.append(cancel(cluster, job_id))
    print(f"cancel of an active job: p50 {statistics.median(took):.2f} s, max {max(took):.2f} s")
    assert max(took) < CANCEL_S


@pytest.mark.parametrize("offset", [0.05, 0.5, 0.95])
def test_a_job_that_is_cancelled_while_it_saves_keeps_its_last_checkpoint(cluster: Cluster, offset: float) -> None:
    job_id = cluster.submit(steps=60, checkpoint_every=3, name="slow-save")
    cluster.until(job_id, "running", step=3)
    wait_for(lambda: "checkpoint saved at step 3" in cluster.messages(job_id), timeout_s=30)
    wait_for(lambda: cluster.job(job_id).phase == "saving", timeout_s=30)
    time.sleep(offset)
    assert cancel(cluster, job_id) < CANCEL_S
    saved = cluster.client.jobs.checkpoints(job_id)
    assert saved[0].step % 3 == 0
    fine(cluster.findings())  # every checkpoint that is listed is whole


def test_whoever_comes_first_of_cancel_and_success_wins_and_the_answer_says_who(cluster: Cluster) -> None:
    seen = set()
    for n in range(10):
        job_id = cluster.submit(steps=30, checkpoint_every=30)
        cluster.until(job_id, "running", step=1)
        time.sleep(n * 0.25)  # an intent is seen within a second; the job ends after one and a half
        answers = []

        def ask(job_id: str = job_id, answers: list[str] = answers) -> None:
            try:
                answers.append(cluster.client.jobs.cancel(job_id).state)
            except ConflictError:
                answers.append("conflict")

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (job,) = cluster.finish(job_id)
        seen.add(job.state)
        if "conflict" in answers:
            assert job.state == "succeeded"
        assert job.state in ("succeeded", "cancelled")
        with pytest.raises(ConflictError) if job.state == "succeeded" else _nothing():
            assert cluster.client.jobs.cancel(job_id).state == "cancelled"
    assert seen == {"succeeded", "cancelled"}
    fine(cluster.findings())


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def drain(cluster: Cluster, *, again_after: float | None = None) -> float:
    """SIGTERM to the worker, perhaps twice; seconds until it has ended."""
    asked = time.monotonic()
    pid = cluster.pid("worker")
    os.kill(pid, signal.SIGTERM)
    if again_after is not None:
        time.sleep(again_after)
        if not cluster.has_ended("worker"):
            os.kill(pid, signal.SIGTERM)
    wait_for(lambda: cluster.has_ended("worker"), timeout_s=60)
    return time.monotonic() - asked


@pytest.mark.parametrize("again", [False, True])
def test_a_worker_that_is_drained_gives_its_job_back_unharmed(cluster: Cluster, again: bool) -> None:
    chance, took = random.Random(7), []
    for n in range(8):
        job_id = cluster.submit(steps=60)
        wait_for(lambda j=job_id: cluster.job(j).state in ACTIVE, timeout_s=30)
        time.sleep(n * 0.25)  # while it starts, and later
        took.append(drain(cluster, again_after=chance.uniform(0, 0.5) if again else None))
        job = cluster.job(job_id)
        assert job.state in ("queued", "succeeded"), job.state
        assert cluster.trainers() == []
        given_back = int(job.state == "queued")
        cluster.restart_dead(print)
        (job,) = cluster.finish(job_id)
        assert (job.state, job.preemptions, job.attempt) == ("succeeded", given_back, 1 + given_back)
        assert (job.infra_failures, job.user_failures) == (0, 0)
        assert cluster.lost_steps(job_id) <= 5
    print(
        f"drain{' with a second SIGTERM' if again else ''}: p50 {statistics.median(took):.2f} s, max {max(took):.2f} s"
    )
    fine(cluster.findings())


def test_another_worker_takes_over_from_the_drains_checkpoint(cluster: Cluster) -> None:
    job_id = cluster.submit(steps=100, checkpoint_every=100)
    cluster.until(job_id, "running", step=7)
    cluster.start_worker("worker-2")
    drain(cluster)
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt, job.preemptions, job.infra_failures) == ("succeeded", 2, 1, 0)
    assert any(message.startswith("resumed after step") for message in cluster.messages(job_id))
    assert cluster.lost_steps(job_id) == 0  # nothing is done twice
    fine(cluster.findings())


def test_a_trainer_that_will_not_stop_is_killed_when_the_drain_is_over(cluster: Cluster) -> None:
    worker_with(cluster, UNIAPL_DRAIN_S="2")
    job_id = cluster.submit(steps=200, name="deaf")
    cluster.until(job_id, "running", step=6)
    took = drain(cluster)
    print(f"drain of a deaf trainer, 2 s allowed: {took:.2f} s")
    assert 2.0 <= took < 12.0
    job = cluster.job(job_id)
    assert (job.state, job.preemptions, job.infra_failures, job.user_failures) == ("queued", 1, 0, 0)
    assert cluster.trainers() == []
    cluster.restart_dead(print)
    assert cluster.finish(job_id)[0].state == "succeeded"


def test_a_paused_job_leaves_its_slot_to_another_and_goes_on_later(cluster: Cluster) -> None:
    job_id = cluster.submit(steps=80, checkpoint_every=80)
    cluster.until(job_id, "running", step=5)
    other = cluster.submit(steps=2)
    assert cluster.client.jobs.pause(job_id).pause_requested
    paused = cluster.until(job_id, "paused")
    (done,) = cluster.finish(other)
    assert done.state == "succeeded"
    assert settled(lambda: cluster.job(job_id).state == "paused")
    assert cluster.client.jobs.checkpoints(job_id)[0].step == paused.step
    cluster.client.jobs.resume(job_id)
    (job,) = cluster.finish(job_id)
    assert (job.state, job.attempt, job.infra_failures, job.user_failures) == ("succeeded", 2, 0, 0)
    assert f"resumed after step {paused.step}" in cluster.messages(job_id)
    assert cluster.lost_steps(job_id) == 0


@pytest.mark.faults_short
@pytest.mark.parametrize("when", ["queued", "starting", "saving"])
def test_a_job_is_paused_whatever_it_does(cluster: Cluster, when: str) -> None:
    blocker = cluster.submit(steps=600) if when == "queued" else None
    if blocker is not None:
        cluster.until(blocker, *ACTIVE)
    job_id = cluster.submit(steps=12, checkpoint_every=3, name="slow-save")
    if when == "starting":
        wait_for(lambda: cluster.job(job_id).state == "starting", timeout_s=30)
    if when == "saving":
        wait_for(lambda: cluster.job(job_id).phase == "saving", timeout_s=30)
    cluster.client.jobs.pause(job_id)
    cluster.until(job_id, "paused", timeout_s=20)
    if blocker is not None:
        cancel(cluster, blocker)
    wait_for(lambda: not cluster.trainers(), timeout_s=10)
    assert settled(lambda: cluster.job(job_id).state == "paused")
    cluster.client.jobs.resume(job_id)
    (job,) = cluster.finish(job_id)
    assert (job.state, job.infra_failures, job.user_failures) == ("succeeded", 0, 0)


def test_a_pause_that_is_withdrawn_at_once_does_no_harm(cluster: Cluster) -> None:
    for _ in range(4):
        job_id = cluster.submit(steps=30)
        cluster.until(job_id, "running", step=3)
        cluster.client.jobs.pause(job_id)
        cluster.client.jobs.resume(job_id)
        (job,) = cluster.finish(job_id)
        assert (job.state, job.infra_failures, job.user_failures) == ("succeeded", 0, 0)


def test_a_paused_job_is_cancelled_at_once(cluster: Cluster) -> None:
    job_id = cluster.submit(steps=100)
    cluster.until(job_id, "running", step=3)
    cluster.client.jobs.pause(job_id)
    cluster.until(job_id, "paused")
    assert cluster.client.jobs.cancel(job_id).state == "cancelled"
    with pytest.raises(ConflictError):
        cluster.client.jobs.resume(job_id)


def test_a_drain_and_a_pause_at_once_leave_the_job_paused(cluster: Cluster) -> None:
    job_id = cluster.submit(steps=100)
    cluster.until(job_id, "running", step=3)
    cluster.client.jobs.pause(job_id)
    drain(cluster)
    assert cluster.job(job_id).state == "paused"
    assert not [p for p in psutil.process_iter(["cmdline"]) if job_id in " ".join(p.info["cmdline"] or [])]
    cluster.restart_dead(print)
    cluster.client.jobs.resume(job_id)
    assert cluster.finish(job_id)[0].state == "succeeded"
