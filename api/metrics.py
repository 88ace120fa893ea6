"""`/metrics` for Prometheus: read from the database when it is scraped."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from store.vitals import Vitals


def exposition(vitals: Vitals) -> bytes:
    """The text format."""
    registry = CollectorRegistry()
    registry.register(_Vitals(vitals))
    return generate_latest(registry)


class _Vitals(Collector):
    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def collect(self) -> Iterator[Metric]:
        vitals = self._vitals
        jobs = GaugeMetricFamily("uniapl_jobs", "Jobs by state.", labels=["state"])
        for state, count in vitals.jobs.items():
            jobs.add_metric([state], count)
        yield jobs
        yield GaugeMetricFamily(
            "uniapl_queue_age_seconds", "Age of the oldest queued job; 0 when none waits.", vitals.queue_age_s
        )
        yield GaugeMetricFamily(
            "uniapl_expired_leases", "Active jobs whose holder has been silent for too long.", vitals.expired_leases
        )
        yield GaugeMetricFamily(
            "uniapl_oldest_expired_lease_seconds", "Since the most overdue lease ran out.", vitals.oldest_lease_s
        )
        ended = CounterMetricFamily("uniapl_attempts_ended", "Attempts that ended, by how.", labels=["how"])
        for how, count in vitals.attempts.items():
            ended.add_metric([how], count)
        yield ended
        yield CounterMetricFamily("uniapl_claims", "Claims that were granted.", vitals.fences)
        yield CounterMetricFamily(
            "uniapl_metric_points_dropped", "Points that came too fast to be stored.", vitals.dropped_points
        )
        yield GaugeMetricFamily("uniapl_steps", "Policy updates of all jobs.", vitals.steps)
