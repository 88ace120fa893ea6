"""What the demo shows of its held-out rows."""

from __future__ import annotations

import pytest
from uniapl_client import Sample

from examples.demo import extremes

pytestmark = pytest.mark.unit


def sample(row: str, reward: float | None, score: float | None) -> Sample:
    return Sample(step=0, row=row, prompt="p", completion="c", reference="r", reward=reward, score=score)


def rows(before: list[Sample], after: list[Sample]) -> tuple[str, str]:
    most, least = extremes(before, after)
    assert most[0].row == most[1].row
    assert least[0].row == least[1].row
    return most[0].row, least[0].row


def test_the_rows_that_improved_most_and_least_are_shown() -> None:
    before = [sample("a", 0.5, 0.5), sample("b", 0.0, 0.1), sample("c", 1.0, 0.2), sample("d", 0.0, 0.1)]
    after = [sample("a", 0.5, 0.6), sample("b", 1.0, 0.9), sample("c", 0.0, 0.9), sample("d", 1.0, 0.2)]
    assert rows(before, after) == ("b", "c")  # b and d gained a whole reward, b came nearer to the teacher


def test_where_no_reward_changed_the_score_decides_and_a_missing_number_is_no_gain() -> None:
    before = [sample("a", None, 0.5), sample("b", 0.5, 0.5), sample("c", 0.5, None)]
    after = [sample("a", None, 0.7), sample("b", 0.5, 0.4), sample("c", 0.5, None)]
    assert rows(before, after) == ("a", "b")
