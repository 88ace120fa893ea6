"""Prometheus metrics: the service's, read from the database at each scrape, and the requests of this process.

Labels have few values: a route as declared, never a path; no tenant and no job.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import PROCESS_COLLECTOR, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from store.jobs.stats import ServiceStats

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_requests = Histogram(
    "uniapl_api_request_seconds",
    "Time until a response begins, by route.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    registry=None,
)


def count_request(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count one request when its response begins.

    Args:
        method: of the request; unsupported methods are counted together.
        route: as declared, `/jobs/{job_id}`; none where no route matched.
        status: of the response; counted by its first digit.
        seconds: since the request began.
    """
    known = method if method in METHODS else "other"
    _requests.labels(known, route or "none", f"{status // 100}xx").observe(seconds)


def exposition(stats: ServiceStats, data_dir: Path) -> bytes:
    """The text format."""
    registry = CollectorRegistry()
    for collector in (_ServiceStats(stats), _Disk(data_dir), _requests, PROCESS_COLLECTOR):
        registry.register(collector)
    return generate_latest(registry)


class _Disk(Collector):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        usage = shutil.disk_usage(self._folder)
        yield GaugeMetricFamily("uniapl_data_free_bytes", "Free space of the disk of the data folder.", usage.free)
        yield GaugeMetricFamily("uniapl_data_size_bytes", "Size of the disk of the data folder.", usage.total)


class _ServiceStats(Collector):
    def __init__(self, stats: ServiceStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        jobs = GaugeMetricFamily("uniapl_jobs", "Jobs by state.", labels=["state"])
        for state, count in stats.jobs.items():
            jobs.add_metric([state], count)
        yield jobs
        yield GaugeMetricFamily(
            "uniapl_queue_age_seconds", "Age of the oldest queued job; 0 when none is queued.", stats.queue_age_s
        )
        yield GaugeMetricFamily("uniapl_expired_leases", "Active jobs whose lease has expired.", stats.expired_leases)
        yield GaugeMetricFamily(
            "uniapl_oldest_expired_lease_seconds",
            "Time since the earliest expired lease expired.",
            stats.oldest_lease_s,
        )
        ended = CounterMetricFamily("uniapl_attempts_ended", "Ended attempts by outcome.", labels=["how"])
        for how, count in stats.attempts.items():
            ended.add_metric([how], count)
        yield ended
        yield CounterMetricFamily("uniapl_claims", "Granted claims.", stats.fences)
        yield GaugeMetricFamily("uniapl_steps", "Policy updates of all jobs.", stats.steps)
