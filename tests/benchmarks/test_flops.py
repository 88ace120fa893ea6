"""FLOP arithmetic of the GPU check: hand-counted models, and the figures of the published shapes."""

from __future__ import annotations

import pytest

from benchmarks.gpu_check.flops import Group, mfu, peak_rate, useful
from uniapl.estimate.model_shape import ModelShape

pytestmark = pytest.mark.unit

TINY = ModelShape(parameters=0, vocab=11, hidden=3, layers=2, intermediate=5, queries=4, keys=2, positions=100)


def test_a_group_counts_its_prompt_once_and_each_pair_of_a_branch() -> None:
    group = Group(2, (3, 1))
    assert group.tokens == 6
    assert group.pairs == 3 + (3 * 2 + 6) + (1 * 2 + 1)


def test_useful_flop_of_a_tiny_model() -> None:
    weights = 2 * (3 * 4 + 3 * 2 + 3 * 2 + 4 * 3 + 3 * 3 * 5)
    forward = 2 * 6 * weights + 2 * 4 * 11 * 3 + 4 * 18 * 4 * 2
    assert useful(TINY, [Group(2, (3, 1))]) == 3 * forward


def test_useful_flop_of_qwen3() -> None:
    sizes = {"vocab": 151_936, "keys": 1024, "positions": 40_960, "parameters": 0}
    small = ModelShape(hidden=1024, layers=28, intermediate=3072, queries=2048, **sizes)
    large = ModelShape(hidden=2560, layers=36, intermediate=9728, queries=4096, **sizes)
    group = Group(1024, (2048,) * 9)
    assert useful(small, [group] * 8) == pytest.approx(0.76e15, rel=0.01)
    assert useful(large, [group]) == pytest.approx(0.535e15, rel=0.01)


def test_utilisation_is_a_share_of_the_card_s_peak() -> None:
    assert mfu(989.5e12, 2.0, "NVIDIA H200") == 0.5
    assert peak_rate("NVIDIA GH200 480GB") == 989.5e12
    assert mfu(1e15, 1.0, "Some card") is None
