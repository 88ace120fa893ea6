"""A trainer that reports tens of thousands of metric points a second."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from store.db import reading
from store.tables import Metric
from tests.conftest import ROOT
from tests.faults.cluster import Cluster
from uniapl.run.config import RunConfig
from uniapl.run.reports import REPORT, MetricReport

pytestmark = pytest.mark.faults
STEPS, ROUNDS = 60, 5
POINTS_PER_S = 40_000
TARGET = 0.02
"""The step time may grow by so much, where it can be measured so well."""


def story(path: Path) -> tuple[list[float], float]:
    """Seconds that each step of a run took, by its own clock, and the points that it wrote a second."""
    reports = [REPORT.validate_json(line) for line in path.read_bytes().splitlines()]
    metrics = [report for report in reports if isinstance(report, MetricReport)]
    times = [report.values["step_s"] for report in metrics if "step_s" in report.values]
    points = sum(len(report.values) for report in metrics)
    return times[5:], points / (metrics[-1].ts - metrics[0].ts)


def attached(cluster: Cluster) -> tuple[str, Path]:
    job_id = cluster.submit(steps=STEPS, checkpoint_every=STEPS, name="flood")
    (job,) = cluster.finish(job_id, timeout_s=180)
    assert (job.state, job.attempt) == ("succeeded", 1)
    return job_id, cluster.data_dir / "jobs" / job_id / "fence-1"


def bare(folder: Path, like: Path) -> Path:
    """The same run without a relay."""
    folder.mkdir(parents=True)
    run = RunConfig.model_validate_json((like / "run.json").read_text()).model_copy(update={"run_dir": str(folder)})
    (folder / "run.json").write_text(run.model_dump_json())
    command = [sys.executable, "-m", "tests.faults.trainer", str(folder / "run.json"), "--parent-pid", str(os.getpid())]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    return folder


def test_a_flood_is_stored_whole_and_the_heartbeat_never_stops(cluster: Cluster) -> None:
    job_id, folder = attached(cluster)
    reports = [REPORT.validate_json(line) for line in (folder / "reports.jsonl").read_bytes().splitlines()]
    written = {(r.step, name) for r in reports if isinstance(r, MetricReport) for name in r.values}
    with reading(cluster.engine) as session:
        stored = session.scalar(select(func.count()).select_from(Metric).where(Metric.job_id == job_id))
    assert stored == len(written) > STEPS * 1000
    assert not [message for message in cluster.messages(job_id) if "stopped renewing" in message]
    times, rate = story(folder / "reports.jsonl")
    assert len(times) == STEPS - 5
    print(f"{rate:.0f} points a second written, {stored} stored")


def test_the_step_time_does_not_suffer(cluster: Cluster, tmp_path: Path) -> None:
    with_relay, alone = [], []
    for n in range(ROUNDS):
        _, folder = attached(cluster)
        with_relay.append(statistics.median(story(folder / "reports.jsonl")[0]))
        times, rate = story(bare(tmp_path / str(n), folder) / "reports.jsonl")
        alone.append(statistics.median(times))
    slower = statistics.median(with_relay) / statistics.median(alone) - 1
    noise = max((max(runs) - min(runs)) / statistics.median(runs) for runs in (alone, with_relay))
    print(
        f"{rate:.0f} points a second; step {1000 * statistics.median(alone):.2f} ms alone, "
        f"{1000 * statistics.median(with_relay):.2f} ms with the relay: {slower:+.1%}, "
        f"where equal runs differ by {noise:.1%}"
    )
    assert slower < TARGET + noise  # on a quiet machine the second term is small
