"""Prometheus metrics of one worker: slots, leases, steps of its trainers, GPUs.

Labels name no tenant and no job, so that their number stays bounded; metrics of a job are in the database.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from uniapl.run.gpus import installed, keep_session

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
slots = Gauge("uniapl_worker_slots", "Jobs that this worker can run concurrently.")
active = Gauge("uniapl_worker_active_jobs", "Jobs that this worker is running.")
renewals = Counter("uniapl_worker_lease_renewals", "Lease renewals by outcome.", ["outcome"])
fences_lost = Counter("uniapl_worker_fences_lost", "Attempts aborted because another worker claimed the job.")
reaped = Counter("uniapl_worker_jobs_reaped", "Jobs taken from workers whose lease expired.")
swept_at = Gauge("uniapl_worker_swept_timestamp_seconds", "Time of the last successful sweep.")
steps = Histogram("uniapl_worker_step_seconds", "Duration of one policy update.", buckets=SECONDS)
tokens = Counter("uniapl_worker_tokens", "Tokens in policy updates.")
reward = Gauge("uniapl_worker_reward", "Mean reward of the latest step's rollouts.")
judged = Histogram("uniapl_worker_discriminator_seconds", "Duration of scoring one step's rollouts.", buckets=SECONDS)
unjudged = Counter("uniapl_worker_discriminator_failures", "Rollouts without a discriminator score.")
log = logging.getLogger(__name__)


def serve(port: int, worker_slots: int) -> None:
    """Serve `GET /metrics` in a background thread."""
    slots.set(worker_slots)
    for outcome in ("renewed", "failed", "lost"):
        renewals.labels(outcome)  # exported from the start, so that the first increase is visible
    keep_session()
    REGISTRY.register(Gpus())
    start_http_server(port)
    log.info("serving metrics on port %d", port)


def observe(values: Mapping[str, float]) -> None:
    """Record a trainer's metrics of one step."""
    if "step_time" in values:
        steps.observe(values["step_time"])
    tokens.inc(values.get("num_tokens", 0.0))
    if "reward" in values:
        reward.set(values["reward"])
    if "time/discriminator" in values:
        judged.observe(values["time/discriminator"])
    unjudged.inc(values.get("disc/failed", 0.0))


def swept() -> None:
    """Record a successful sweep."""
    swept_at.set(time.time())


class Gpus(Collector):
    """Memory of this machine's GPUs and MIG slices; no samples without a driver."""

    def collect(self) -> Iterator[Metric]:
        """Query the driver."""
        used = GaugeMetricFamily("uniapl_gpu_memory_used_bytes", "GPU memory used by all processes.", labels=["gpu"])
        size = GaugeMetricFamily("uniapl_gpu_memory_bytes", "Total GPU memory.", labels=["gpu"])
        for gpu in installed():
            if gpu.used_bytes is not None and gpu.memory_bytes is not None:
                used.add_metric([gpu.label], gpu.used_bytes)
                size.add_metric([gpu.label], gpu.memory_bytes)
        yield used
        yield size
