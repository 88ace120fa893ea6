"""A flood of metrics is thinned evenly; evaluations and the newest step always stay."""

from __future__ import annotations

from itertools import pairwise

import pytest

from uniapl.run.reports import EventReport, MetricReport, Report
from worker.downsample import BURST_S, Downsampler

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def metric(seq: int, *names: str) -> MetricReport:
    return MetricReport(seq=seq, ts=0.0, step=seq, values=dict.fromkeys(names or ("loss", "lr"), 1.0))


def flood(first: int, count: int) -> list[Report]:
    return [metric(first + i) for i in range(count)]


def points(reports: list[Report]) -> int:
    return sum(len(report.values) for report in reports if isinstance(report, MetricReport))


def test_what_fits_passes_untouched(clock: Clock) -> None:
    reports = flood(1, 10 * BURST_S // 2)
    assert Downsampler(10, clock=clock).thin(reports) == (reports, 0)


def test_a_burst_spends_the_budget_and_time_refills_it(clock: Clock) -> None:
    thinner = Downsampler(10, clock=clock)
    thinner.thin(flood(1, 5 * BURST_S))
    kept, dropped = thinner.thin(flood(100, 50))
    assert (points(kept), dropped) == (2, 98)  # nothing is left but for the newest
    clock.now += 2.0
    kept, dropped = thinner.thin(flood(200, 50))
    assert points(kept) + dropped == 100
    assert 14 <= points(kept) <= 20
    clock.now += 10_000  # however long the silence, one burst is all that it saves
    kept, _ = thinner.thin(flood(300, 1000))
    assert points(kept) <= 10 * BURST_S + 2


def test_over_a_long_flood_the_budget_is_obeyed(clock: Clock) -> None:
    thinner, kept_points, seconds = Downsampler(100, clock=clock), 0, 60
    for second in range(seconds * 5):
        kept, _ = thinner.thin(flood(1 + second * 100, 100))
        kept_points += points(kept)
        clock.now += 0.2
    newest = 2 * seconds * 5
    assert 0.9 * 100 * seconds <= kept_points <= 100 * (seconds + BURST_S) + newest


def test_what_is_kept_is_spread_evenly_and_ends_with_the_newest(clock: Clock) -> None:
    kept, dropped = Downsampler(4, clock=clock).thin(flood(1, 100))
    steps = [report.seq for report in kept]
    assert steps[-1] == 100
    assert dropped == 2 * (100 - len(steps))
    gaps = {after - before for before, after in pairwise(steps)}
    assert gaps == {10}


def test_evaluations_and_everything_else_always_pass(clock: Clock) -> None:
    thinner = Downsampler(1, clock=clock)
    event = EventReport(seq=5000, ts=0.0, level="info", message="m")
    evaluations = [metric(6000 + i, "eval/reward", "eval/len") for i in range(50)]
    kept, dropped = thinner.thin([*flood(1, 500), event, *evaluations, *flood(7000, 500)])
    assert [report for report in kept if report.seq in range(5000, 7000)] == [event, *evaluations]
    assert kept[-1].seq == 7499
    assert dropped > 1900


def test_of_a_step_all_is_kept_or_nothing(clock: Clock) -> None:
    reports: list[Report] = [metric(i, *(f"m{j}" for j in range(7))) for i in range(1, 200)]
    kept, dropped = Downsampler(10, clock=clock).thin(reports)
    assert {points([report]) for report in kept} == {7}
    assert points(kept) + dropped == points(reports)


def test_one_step_larger_than_the_whole_budget_still_passes(clock: Clock) -> None:
    wide = metric(1, *(f"m{j}" for j in range(1000)))
    assert Downsampler(1, clock=clock).thin([wide])[0] == [wide]


def test_the_same_flood_is_thinned_alike() -> None:
    kept = [Downsampler(3, clock=Clock()).thin(flood(1, 777)) for _ in range(2)]
    assert kept[0] == kept[1]
