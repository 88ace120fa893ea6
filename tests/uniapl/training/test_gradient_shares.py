"""A short form of the table in docs/method.md: shares of the terms' gradients, measured on a model."""

from __future__ import annotations

import pytest

from benchmarks.gradient_shares import ALPHA, LAMBDA, measure

pytestmark = pytest.mark.integration

SHORT, LONG = 16, 64


def shares(aggregate: str) -> list[float]:
    rows = [measure(length, aggregate) for length in (SHORT, LONG)]
    return [row["adv"] / row["grpo"] for row in rows]


def test_the_default_keeps_its_share_on_a_model() -> None:
    assert shares("relative") == pytest.approx([100 * LAMBDA / (1 - ALPHA)] * 2, rel=0.5)


def test_the_literal_readings_share_grows_with_length_on_a_model() -> None:
    short, long = shares("seq_sum")
    assert 2 < long / short < 8
