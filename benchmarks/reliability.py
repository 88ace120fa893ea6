"""Failure detection and recovery times of the service with default settings (`make bench-reliability`).

Real Postgres and Redis, and the scripted trainer of `tests/faults` (5 steps per second, a checkpoint every 5 steps).
The output is a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import wait_for
from tests.faults.cluster import Cluster

DEFAULTS = {
    "UNIAPL_LEASE_S": "90",
    "UNIAPL_HEARTBEAT_S": "10",
    "UNIAPL_SWEEP_S": "5",
    "UNIAPL_RETRY_BACKOFF_S": "5",
    "UNIAPL_DRAIN_S": "120",
    "UNIAPL_TEST_STEP_S": "0.2",
}

_moments = random.Random(0)


def reclaim(cluster: Cluster) -> float:
    """Seconds from the death of a worker to the next claim by another worker."""
    job_id = cluster.submit(steps=2000)
    cluster.until(job_id, "running", step=7)
    holder = _holder(cluster, job_id)
    attempt = cluster.job(job_id).attempt
    cluster.kill(holder)
    started = time.monotonic()
    wait_for(lambda: cluster.job(job_id).attempt > attempt, timeout_s=200)
    seconds = time.monotonic() - started
    cluster.restart_dead(lambda text: None)
    _end(cluster, job_id)
    return seconds


def cancel(cluster: Cluster) -> float:
    """Seconds from the request to the state `cancelled`."""
    job_id = cluster.submit(steps=2000)
    cluster.until(job_id, "running", step=2)
    _any_moment()
    started = time.monotonic()
    cluster.client.jobs.cancel(job_id)
    cluster.until(job_id, "cancelled")
    return time.monotonic() - started


def drain(cluster: Cluster) -> float:
    """Seconds from SIGTERM until the worker has exited and its job is queued."""
    job_id = cluster.submit(steps=2000)
    cluster.until(job_id, "running", step=2)
    holder = _holder(cluster, job_id)
    _any_moment()
    started = time.monotonic()
    os.kill(cluster.pid(holder), signal.SIGTERM)
    wait_for(lambda: cluster.has_ended(holder))
    seconds = time.monotonic() - started
    assert cluster.job(job_id).preemptions == 1
    cluster.restart_dead(lambda text: None)
    _end(cluster, job_id)
    return seconds


def lost_steps(cluster: Cluster) -> float:
    """Steps repeated after the trainer was killed between two checkpoints."""
    job_id = cluster.submit(steps=2000)
    cluster.until(job_id, "running", step=7)
    _any_moment()
    cluster.trainer_of(job_id).kill()
    wait_for(lambda: any(m.startswith("resumed after step") for m in cluster.messages(job_id)), timeout_s=60)
    _end(cluster, job_id)
    return cluster.lost_steps(job_id)


MEASURES: dict[str, tuple[str, Callable[[Cluster], float], int]] = {
    "reclaim": ("worker killed to next claim (s)", reclaim, 3),
    "cancel": ("cancel request to `cancelled` (s)", cancel, 50),
    "drain": ("SIGTERM to job queued and worker exited (s)", drain, 10),
    "lost_steps": ("steps lost by a killed trainer, with 5 between checkpoints", lost_steps, 10),
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=MEASURES, action="append")
    chosen = parser.parse_args().only or list(MEASURES)
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="uniapl-bench-") as name:
        os.chmod(name, 0o755)  # Postgres runs as another user
        with Cluster(Path(name), postgres=True, environment=DEFAULTS) as cluster:
            cluster.start_worker("worker-2")
            for key in chosen:
                _, measure, times = MEASURES[key]
                found[key] = [measure(cluster) for _ in range(times)]
                print(f"{key}: {', '.join(f'{value:.1f}' for value in found[key])}", file=sys.stderr)
    print("| measurement | n | median | p99 | max |\n|---|---:|---:|---:|---:|")
    for key, values in found.items():
        p99 = sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]
        print(
            f"| {MEASURES[key][0]} | {len(values)} | {statistics.median(values):.1f} | {p99:.1f} | {max(values):.1f} |"
        )
    print(json.dumps(found))
    return 0


def _any_moment() -> None:
    """Wait for up to five steps, so that the runs are interrupted at different steps."""
    time.sleep(_moments.uniform(0.0, 1.0))


def _holder(cluster: Cluster, job_id: str) -> str:
    parent = cluster.trainer_of(job_id).ppid()
    return next(name for name in ("worker", "worker-2") if cluster.pid(name) == parent)


def _end(cluster: Cluster, job_id: str) -> None:
    cluster.client.jobs.cancel(job_id)
    cluster.until(job_id, "cancelled", timeout_s=200)


if __name__ == "__main__":
    sys.exit(main())
