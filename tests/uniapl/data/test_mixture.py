"""Dataset mixture: the order is a pure function of (seed, step)."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniapl.data.mixture import rows_of_step
from uniapl.spec.job import MixEntry

pytestmark = pytest.mark.unit


def mix(*weights: float) -> list[MixEntry]:
    return [MixEntry(dataset=f"d{i}", weight=w) for i, w in enumerate(weights)]


@given(
    weights=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    size=st.integers(1, 9),
    seed=st.integers(0, 100),
)
def test_each_step_is_full_and_shares_are_exact_over_the_run(weights: list[int], size: int, seed: int) -> None:
    per_step = sum(weights)  # so that entry i is worth weights[i] rows a step
    for step in range(6):
        rows = rows_of_step(step, mix=mix(*weights), sizes=[size] * len(weights), prompts_per_step=per_step, seed=seed)
        assert Counter(entry for entry, _ in rows) == dict(enumerate(weights))
        assert all(0 <= row < size for _, row in rows)


@given(weights=st.lists(st.floats(0.5, 5.0), min_size=1, max_size=5), extra=st.integers(0, 12))
def test_uneven_shares_leave_no_entry_out_of_any_step(weights: list[float], extra: int) -> None:
    per_step = ceil(sum(weights) / min(weights)) + extra  # so that each entry is worth at least one row
    count: Counter[int] = Counter()
    for step in range(25):
        rows = rows_of_step(step, mix=mix(*weights), sizes=[50] * len(weights), prompts_per_step=per_step, seed=0)
        in_step = Counter(entry for entry, _ in rows)
        assert len(rows) == per_step
        assert set(in_step) == set(range(len(weights)))
        count.update(in_step)
        for entry, weight in enumerate(weights):
            assert abs(count[entry] - weight / sum(weights) * per_step * (step + 1)) <= 1 + 1e-6


def test_no_row_comes_twice_before_all_have_come_once() -> None:
    seen = [
        row for step in range(7) for _, row in rows_of_step(step, mix=mix(1), sizes=[7], prompts_per_step=3, seed=4)
    ]
    epochs = [seen[i : i + 7] for i in range(0, 21, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]  # each epoch in an order of its own


def test_another_seed_is_another_order_and_the_same_seed_the_same() -> None:
    def order(seed: int) -> list[tuple[int, int]]:
        return rows_of_step(3, mix=mix(1, 2), sizes=[30, 30], prompts_per_step=9, seed=seed)

    assert order(1) == order(1)
    assert order(1) != order(2)
