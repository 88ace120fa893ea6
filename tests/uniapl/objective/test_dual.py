"""The constrained form: lambda_adv follows the mean score around its target."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from uniapl.batching.batch import Counts, Sequence, collate
from uniapl.objective.advantages import group_advantages
from uniapl.objective.adversarial import coefficients
from uniapl.objective.dual import LARGEST_CHANGE, DualWeight
from uniapl.objective.losses import unified_terms
from uniapl.spec.job import JobSpec
from uniapl.spec.objective import ScoreTarget

pytestmark = pytest.mark.integration

PROMPTS, GROUP, REWARDED, CLOSE = 8, 8, 0, 1


def test_lambda_rises_below_the_target_and_falls_above() -> None:
    target, dual = ScoreTarget(score=0.5, rate=0.01), DualWeight()
    dual.update(0.3, 10, target)  # e = 2: I = 0.02, and 20 · 0.02 for the violation
    assert (dual.integral, dual.log_factor) == pytest.approx((0.02, 0.42))
    dual.update(0.6, 10, target)  # e = -1
    assert (dual.integral, dual.log_factor) == pytest.approx((0.01, -0.08))  # at most 0.5 below 0.42
    dual.update(0.5, 10, target)  # at the target the multiplier stays
    assert dual.factor == pytest.approx(math.exp(dual.integral)) == pytest.approx(math.exp(0.01))


def test_a_step_and_the_whole_adaptation_are_bounded() -> None:
    target, dual = ScoreTarget(score=0, rate=1, max_factor=3), DualWeight()
    dual.update(-1e9, 1, target)
    assert (dual.integral, dual.log_factor) == (LARGEST_CHANGE, LARGEST_CHANGE)
    for _ in range(9):
        dual.update(-1e9, 1, target)
    assert dual.factor == pytest.approx(3)
    for _ in range(18):
        dual.update(1e9, 1, target)
    assert dual.factor == pytest.approx(1 / 3)


@pytest.mark.parametrize("missing", [None, math.nan, -math.inf])
def test_a_missing_score_changes_nothing(missing: float | None) -> None:
    dual = DualWeight(0.25, 0.5)
    dual.update(missing, 1, ScoreTarget(score=0))
    assert dual == DualWeight(0.25, 0.5)


def test_a_learned_discriminator_has_no_target() -> None:
    fields: dict[str, Any] = {"student": "s", "dataset_mix": [{"dataset": "d"}], "discriminator": {"type": "learned"}}
    with pytest.raises(ValidationError, match=r"adversarial.constraint: .* use another discriminator.type"):
        JobSpec.model_validate({**fields, "adversarial": {"constraint": {"score": 0.4}}})


def mean_scores(target: float | None) -> list[float]:
    """Mean scores of a bandit whose reward favours one arm and whose discriminator another."""
    torch.manual_seed(0)
    constraint = None if target is None else {"score": target, "rate": 0.1}
    spec = JobSpec.model_validate(
        {
            "student": "bandit",
            "dataset_mix": [{"dataset": "d"}],
            "alpha": 0,
            "adversarial": {"constraint": constraint},
        }
    )
    logits, dual, means = torch.zeros(3, requires_grad=True), DualWeight(), []
    optimizer = torch.optim.SGD([logits], lr=0.1)
    for _ in range(300):
        distribution = torch.log_softmax(logits, dim=0)
        arms = torch.multinomial(distribution.exp().detach(), PROMPTS * GROUP, replacement=True).view(PROMPTS, GROUP)
        scores = (arms == CLOSE).float()
        advantages = group_advantages((arms == REWARDED).float(), scale=True).flatten().tolist()
        coefs = coefficients(scores, scale=1.0, options=spec.adversarial).flatten().tolist()
        sequences = [
            Sequence([0], [arm], False, a, c, [distribution[arm].item()])
            for arm, a, c in zip(arms.flatten().tolist(), advantages, coefs, strict=True)
        ]
        batch = collate(sequences, pad_id=0, device=torch.device("cpu"))
        terms = unified_terms(distribution[batch.completion_ids], batch, Counts.of(sequences), spec)
        optimizer.zero_grad()
        torch.stack(list(terms.weighted(spec.weights_at(0).times(dual.factor)).values())).sum().backward()
        optimizer.step()
        means.append(scores.mean().item())
        if spec.adversarial.constraint is not None:
            dual.update(means[-1], 1.0, spec.adversarial.constraint)
    return means


def test_the_mean_score_is_held_at_the_target_against_the_reward() -> None:
    assert sum(mean_scores(None)[-50:]) / 50 < 0.1  # the reward alone drives it away
    held = mean_scores(0.5)
    assert sum(held[-100:]) / 100 == pytest.approx(0.5, abs=0.1)
