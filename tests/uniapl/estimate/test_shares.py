"""The expected share of the adversarial term, against the gradients of the objective itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.uniapl.objective.test_relative_weight import LOSSES, rollouts, share, spec_of
from uniapl.estimate.shares import adversarial_share

pytestmark = pytest.mark.integration

LENGTH = 48
AGGREGATES = ["relative", "seq_sum", "seq_mean", "token_mean", "sum_over_const"]


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("loss", list(LOSSES))
def test_the_expected_share_is_that_of_the_objective(aggregate: str, loss: str) -> None:
    options: dict[str, Any] = {"aggregate": aggregate, "coef": "group_whiten"}
    spec = spec_of(grpo=LOSSES[loss], adversarial=options, rollout={"max_new_tokens": 64})
    expected = adversarial_share(spec, LENGTH)
    assert expected is not None
    assert expected.share == pytest.approx(share(spec, rollouts([LENGTH] * 8, spec)), rel=0.1)


def test_alpha_and_lambda_are_those_of_the_first_step_with_the_term() -> None:
    stages = [{"steps": 3, "alpha": 1}, {"steps": 3, "alpha": 0.5, "lambda_adv": 2e-3}]
    spec = spec_of().model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], "schedule": {"stages": stages}})
    found = adversarial_share(spec, 16)
    assert found is not None
    assert found.share == pytest.approx(0.4)
    assert "about 0.4 times" in found.basis
    assert "at any length" in found.basis


def test_there_is_no_share_without_the_term() -> None:
    assert adversarial_share(spec_of(lambda_adv=0), 16) is None
