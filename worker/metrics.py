"""What one worker shows Prometheus: its slots, its leases, how its trainers get on, the GPUs.

Labels name no tenant and no job, so that their number does not grow; a job's own numbers are in the database.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.gpus import installed

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
slots = Gauge("uniapl_worker_slots", "Jobs that this worker runs at once.")
active = Gauge("uniapl_worker_active_jobs", "Jobs that it is busy with.")
renewals = Counter("uniapl_worker_lease_renewals", "Heartbeats, by what became of them.", ["outcome"])
fences_lost = Counter("uniapl_worker_fences_lost", "Attempts that ended since the job was taken away.")
reaped = Counter("uniapl_worker_jobs_reaped", "Jobs taken from holders that fell silent.")
swept_at = Gauge("uniapl_worker_swept_timestamp_seconds", "When it last looked for work and got an answer.")
steps = Histogram("uniapl_worker_step_seconds", "One policy update.", buckets=SECONDS)
tokens = Counter("uniapl_worker_tokens", "Tokens that policy updates were made from.")
reward = Gauge("uniapl_worker_reward", "Mean reward of the rollouts of the newest step.")
judged = Histogram("uniapl_worker_discriminator_seconds", "Scoring the rollouts of one step.", buckets=SECONDS)
unjudged = Counter("uniapl_worker_discriminator_failures", "Rollouts that the discriminator gave no score.")
log = logging.getLogger(__name__)


def serve(port: int, worker_slots: int) -> None:
    """Answer `GET /metrics` in a thread of its own."""
    slots.set(worker_slots)
    for outcome in ("renewed", "failed", "lost"):
        renewals.labels(outcome)  # there from the start, so that its first increase is seen
    REGISTRY.register(Gpus())
    start_http_server(port)
    log.info("metrics are at port %d", port)


def observe(values: Mapping[str, float]) -> None:
    """Count what a trainer reports of one step, by the names it gives its metrics."""
    if "step_time" in values:
        steps.observe(values["step_time"])
    tokens.inc(values.get("num_tokens", 0.0))
    if "reward" in values:
        reward.set(values["reward"])
    if "time/discriminator" in values:
        judged.observe(values["time/discriminator"])
    unjudged.inc(values.get("disc/failed", 0.0))


def swept() -> None:
    """The sweeper's round went well."""
    swept_at.set(time.time())


class Gpus(Collector):
    """Memory of the GPUs that this process may see; nothing where there is no driver."""

    def collect(self) -> Iterator[Metric]:
        """Ask the driver."""
        used = GaugeMetricFamily("uniapl_gpu_memory_used_bytes", "By all processes.", labels=["gpu"])
        size = GaugeMetricFamily("uniapl_gpu_memory_bytes", "Of the GPU.", labels=["gpu"])
        for number, gpu in enumerate(installed()):
            used.add_metric([str(number)], gpu.used_bytes)
            size.add_metric([str(number)], gpu.memory_bytes)
        yield used
        yield size
