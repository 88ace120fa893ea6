"""The constrained form: lambda_adv follows the mean score around its target."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from uniapl.objective.dual import LARGEST_CHANGE, DualWeight
from uniapl.spec.job import JobSpec
from uniapl.spec.objective import ScoreTarget

pytestmark = pytest.mark.integration


def test_lambda_rises_below_the_target_and_falls_above() -> None:
    target, dual = ScoreTarget(score=0.5, rate=0.1), DualWeight()
    dual.update(0.3, 10, target)
    assert dual.factor == pytest.approx(math.exp(0.2))
    dual.update(0.6, 10, target)
    assert dual.factor == pytest.approx(math.exp(0.1))


def test_a_step_and_the_whole_adaptation_are_bounded() -> None:
    target, dual = ScoreTarget(score=0, rate=1, max_factor=3), DualWeight()
    dual.update(-1e9, 1, target)
    assert dual.log_factor == LARGEST_CHANGE
    for _ in range(9):
        dual.update(-1e9, 1, target)
    assert dual.factor == pytest.approx(3)
    for _ in range(18):
        dual.update(1e9, 1, target)
    assert dual.factor == pytest.approx(1 / 3)


@pytest.mark.parametrize("missing", [None, math.nan, -math.inf])
def test_a_missing_score_changes_nothing(missing: float | None) -> None:
    dual = DualWeight(0.25)
    dual.update(missing, 1, ScoreTarget(score=0))
    assert dual == DualWeight(0.25)


def test_a_learned_discriminator_has_no_target() -> None:
    fields: dict[str, Any] = {"student": "s", "dataset_mix": [{"dataset": "d"}], "discriminator": {"type": "learned"}}
    with pytest.raises(ValidationError, match=r"adversarial.constraint: .* use another discriminator.type"):
        JobSpec.model_validate({**fields, "adversarial": {"constraint": {"score": 0.4}}})
