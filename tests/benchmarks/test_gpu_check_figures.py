"""Verdicts of the GPU check: ranges, red flags, and the summary of a run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.gpu_check.expectations import TABLE, ranges
from benchmarks.gpu_check.figures import Expected, Figure
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.runner import summary

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(2, "ok"), (1, "ok"), (3, "ok"), (0.5, "off"), (5, "off"), (0.4, "red flag"), (math.nan, "red flag")],
)
def test_a_value_outside_the_range_is_off_and_outside_the_wider_range_a_red_flag(value: float, verdict: str) -> None:
    assert Expected(1, 3, red_below=0.5, red_above=6).verdict(value) == verdict


def test_without_a_wider_range_every_value_outside_is_a_red_flag() -> None:
    assert Expected(most=3).verdict(3.1) == Expected(least=3).verdict(2.9) == "red flag"


def test_texts_and_figures_without_a_range_are_not_judged() -> None:
    assert Figure("reason", "none", Expected(0, 0)).verdict == Figure("s", 3.0, None).verdict == "not judged"


def test_every_range_explains_itself_and_its_red_flags_are_further_out() -> None:
    for name, expected in TABLE.items():
        assert expected.means, name
        assert expected.red_below is None or expected.red_below <= expected.least, name
        assert expected.red_above is None or expected.red_above >= expected.most, name


def test_some_ranges_apply_on_one_device_only() -> None:
    assert "step s" in ranges("learning", "cuda")
    assert "step s" not in ranges("learning", "cpu")


def test_the_summary_counts_red_flags_and_lists_what_is_off_or_not_checked(tmp_path: Path) -> None:
    report = Report("a phase", "cpu", tmp_path / "result.jsonl", tmp_path)
    expected = {"x": Expected(0, 1, red_above=2, means="x is large")}
    for value in (0.5, 1.5, 2.5, math.inf):
        report.figures("a group", {"x": value}, expected)
    report.unchecked("the card")
    text, red_flags = summary(report.results)
    assert red_flags == 2
    assert "OFF: a phase: a group: x is 1.5, expected 0 to 1: x is large" in text
    assert "RED FLAG: a phase: a group: x is 2.5, expected 0 to 1: x is large" in text
    assert "NOT CHECKED: a phase: the card" in text
    for line in report.results.read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
