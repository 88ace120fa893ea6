"""Advantages from rewards and coefficients from scores, against numbers derived by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from uniapl.objective.advantages import centre, group_advantages
from uniapl.objective.adversarial import RunningBaseline, coefficients, leave_one_out, teacher_weights
from uniapl.objective.losses import clipped_surrogate
from uniapl.spec.objective import Adversarial

pytestmark = pytest.mark.integration

NAN = math.nan


@pytest.mark.parametrize("form", ["loo", "raw", "group_whiten", "sigmoid", "bt_margin"])
def test_no_gradient_reaches_the_coefficient(
    form: Any,
) -> None:
    scores = torch.randn(2, 4, requires_grad=True)
    logprobs = torch.randn(8, 3, requires_grad=True)
    teacher = torch.randn(2, requires_grad=True)
    options = Adversarial(coef_clip=None, coef=form)
    coef = coefficients(scores, scale=2.0, options=options, teacher_scores=teacher).flatten()
    assert not coef.requires_grad
    mask = torch.ones(8, 3, dtype=torch.bool)
    surrogate = clipped_surrogate(logprobs, logprobs.detach(), coef, mask, clip_low=0.2, clip_high=0.2)
    surrogate.sum().backward()
    assert scores.grad is None
    assert teacher.grad is None
    # the surrogate itself blocks the gradient of its weights too
    weights = torch.ones(8, requires_grad=True)
    clipped_surrogate(logprobs, logprobs.detach(), weights, mask, clip_low=0.2, clip_high=0.2).sum().backward()
    assert weights.grad is None


def test_leave_one_out_compares_each_score_with_its_siblings() -> None:
    assert_close(leave_one_out(torch.tensor([[1.0, 2.0, 6.0]])), torch.tensor([[-3.0, -1.5, 4.5]]))


def test_identical_scores_give_no_adversarial_signal() -> None:
    assert_close(coefficients(torch.full((2, 4), -7.3), scale=10.0, options=Adversarial()), torch.zeros(2, 4))


def test_adding_a_constant_to_every_score_changes_nothing() -> None:
    scores = torch.randn(3, 5, dtype=torch.float64)
    kept = coefficients(scores, scale=3.0, options=Adversarial())
    assert_close(coefficients(scores - 8.25, scale=3.0, options=Adversarial()), kept)


def test_score_spikes_are_bounded() -> None:
    coef = coefficients(torch.tensor([[0.0, 0.0, 1e6]]), scale=1.0, options=Adversarial())
    assert coef.abs().max() == 10.0


def test_raw_coefficients_are_the_scaled_scores_and_whitened_ones_have_unit_spread() -> None:
    scores = torch.tensor([[-1.0, -2.0, -6.0]])
    assert_close(coefficients(scores, scale=2.0, options=Adversarial(coef="raw", coef_clip=None)), 2 * scores)
    # centred: 2, 1, -3; unbiased std sqrt((4 + 1 + 9) / 2) = sqrt(7)
    expected = torch.tensor([[2.0, 1.0, -3.0]]) / (math.sqrt(7) + 1e-4)
    assert_close(coefficients(scores, scale=1.0, options=Adversarial(coef="group_whiten")), expected)
    assert_close(
        coefficients(torch.full((1, 3), 5.0), scale=1.0, options=Adversarial(coef="group_whiten")), torch.zeros(1, 3)
    )


def test_advantages_are_centred_and_scaled_within_the_group() -> None:
    rewards = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    # std (unbiased) of (0, 1) is sqrt(1/2); the second group has no variance and no signal
    expected = torch.tensor([[-0.5, 0.5], [0.0, 0.0]]) / (math.sqrt(0.5) + 1e-4)
    assert_close(group_advantages(rewards, scale=True), expected)
    assert_close(group_advantages(rewards, scale=False), torch.tensor([[-0.5, 0.5], [0.0, 0.0]]))


def _without_variance() -> list[float]:
    """Equal rewards of a group; the last two are one number, summed in two orders."""
    return [1 / 3, 0.1, 2 / 7, 2 / 3, 0.7, 1.0, 0.0, 0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1]


@pytest.mark.parametrize("size", range(2, 17))
def test_equal_rewards_give_exactly_no_signal_whatever_their_number(size: int) -> None:
    rewards = torch.tensor([[reward] * size for reward in _without_variance()], dtype=torch.float64)
    for scale in (True, False):
        assert group_advantages(rewards, scale=scale).count_nonzero() == 0
        assert group_advantages(rewards.float(), scale=scale).count_nonzero() == 0
    centred, std = centre(rewards)
    assert std.count_nonzero() == centred.count_nonzero() == 0


def test_a_sum_in_another_order_is_the_same_reward_and_a_thousandth_less_is_another() -> None:
    one, other = 0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1
    assert one != other
    rewards = torch.tensor([[one, other, one, NAN], [1.0, 0.999, 1.0, NAN]], dtype=torch.float64)
    centred, std = centre(rewards)
    assert std[0] == 0
    assert centred[0].count_nonzero() == 0
    assert_close(std[1], torch.tensor([0.001 / math.sqrt(3)], dtype=torch.float64))
    assert group_advantages(rewards, scale=True)[1, :3].count_nonzero() == 3


SCORES = st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=4)


@given(SCORES, st.floats(-50, 50))
def test_leave_one_out_ignores_a_constant_and_sums_to_zero(scores: list[list[float]], shift: float) -> None:
    d = torch.tensor(scores, dtype=torch.float64)
    options = Adversarial(coef_clip=None)
    kept = coefficients(d, scale=1.0, options=options)
    assert_close(coefficients(d + shift, scale=1.0, options=options), kept, atol=1e-4, rtol=0)
    assert_close(kept.sum(dim=1), torch.zeros(len(d)), atol=1e-4, rtol=0)


@given(st.floats(-20, 20), st.integers(2, 12))
def test_identical_scores_give_exactly_zero(score: float, size: int) -> None:
    assert coefficients(torch.full((2, size), score), scale=10.0, options=Adversarial()).abs().max() < 1e-12


def test_a_missing_score_leaves_its_group_and_is_never_replaced() -> None:
    scores = torch.tensor([[1.0, NAN, 5.0], [2.0, NAN, NAN]])
    # first group: 1 - 5 and 5 - 1; a score whose siblings are all missing has no baseline
    assert_close(leave_one_out(scores), torch.tensor([[-4.0, NAN, 4.0], [NAN, NAN, NAN]]), equal_nan=True)
    raw = coefficients(scores, scale=1.0, options=Adversarial(coef="raw"))
    assert_close(raw, torch.tensor([[1.0, NAN, 5.0], [2.0, NAN, NAN]]), equal_nan=True)
    whitened = coefficients(scores, scale=1.0, options=Adversarial(coef="group_whiten"))
    # centred: -2, 2; unbiased std sqrt(8); a lone score has no spread
    unit = 2 / (math.sqrt(8) + 1e-4)
    assert_close(whitened, torch.tensor([[-unit, NAN, unit], [0.0, NAN, NAN]]), equal_nan=True)


def test_a_missing_reward_leaves_its_group() -> None:
    advantages = group_advantages(torch.tensor([[0.0, NAN, 1.0]]), scale=False)
    assert_close(advantages, torch.tensor([[-0.5, 0.0, 0.5]]))


def test_sigmoid_is_one_half_at_its_center() -> None:
    options = Adversarial(coef="sigmoid", score_center=3.0, score_temperature=2.0)
    # scale 2: d = 3 and 7; σ(0) = 1/2, σ((7 - 3) / 2) = 1 / (1 + e^-2)
    coef = coefficients(torch.tensor([[1.5, 3.5]]), scale=2.0, options=options)
    assert_close(coef, torch.tensor([[0.5, 1 / (1 + math.exp(-2))]]))


def test_bt_margin_is_the_log_odds_against_the_teachers_own_score_less_the_siblings() -> None:
    # margins log σ(1 - 3) = -log(1 + e^2) and log σ(3 - 3) = -log 2
    low, high = -math.log(1 + math.exp(2)), -math.log(2)
    coef = coefficients(
        torch.tensor([[1.0, 3.0]]),
        scale=1.0,
        options=Adversarial(coef="bt_margin"),
        teacher_scores=torch.tensor([3.0]),
    )
    assert_close(coef, torch.tensor([[low - high, high - low]]))


def test_groups_of_one_are_compared_with_the_rest_of_the_step() -> None:
    scores = torch.tensor([[1.0], [2.0], [6.0]])
    expected = torch.tensor([[-3.0], [-1.5], [4.5]])
    assert_close(coefficients(scores, scale=1.0, options=Adversarial()), expected)


def test_groups_of_one_may_go_without_a_baseline() -> None:
    scores = torch.tensor([[1.0], [2.0]])
    assert_close(coefficients(scores, scale=2.0, options=Adversarial(single_baseline="none")), 2 * scores)


def test_the_running_baseline_is_the_mean_of_earlier_steps() -> None:
    options, baseline = Adversarial(single_baseline="ema"), RunningBaseline(decay=0.9)

    def step(*scores: float) -> list[list[float]]:
        values = torch.tensor([[score] for score in scores])
        return coefficients(values, scale=1.0, options=options, baseline=baseline).tolist()

    assert step(1.0, 3.0) == [[-1.0], [1.0]]  # the first step has its own mean, 2
    assert step(4.0, NAN)[0] == [2.0]  # 4 less the 2 from before; the mean becomes 0.9 · 2 + 0.1 · 4
    assert baseline.mean == pytest.approx(2.2)


def test_the_teachers_answer_weighs_more_the_farther_the_student_is_from_it() -> None:
    options = Adversarial(target="teacher_response", coef="sigmoid", surrogate="reinforce")
    scores = torch.tensor([[0.0, 0.0], [50.0, 50.0], [0.0, NAN], [NAN, NAN]])
    weights = teacher_weights(scores, scale=1.0, options=options)
    assert_close(weights, torch.tensor([0.5, 0.0, 0.5, NAN]), equal_nan=True)
