"""Several policy updates on the rollouts of a step: importance ratios move away from 1, and their bounds act."""

from __future__ import annotations

import pytest
import torch

from tests.uniapl.model.test_policy import spec
from uniapl.batching.batch import Sequence
from uniapl.model.policy import Policy
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.training.learner import Learner
from uniapl.training.trainer import over_updates

pytestmark = pytest.mark.integration


def test_clip_bounds_act_from_the_second_update_on(policy: Policy) -> None:
    given = spec(4096, alpha=0)
    given = given.model_copy(
        update={"optimizer": given.optimizer.model_copy(update={"learning_rate": 1e-2, "eps": 1e-8})}
    )
    sampler = TransformersGenerator(policy, temperature=1.0, max_new_tokens=8, batch_size=8)
    (group,) = sampler.sample([[5, 9, 400]], group_size=4, seed=0)
    rollouts = [
        Sequence([5, 9, 400], c.ids, advantage=(-1.0) ** i, old_logprobs=c.logprobs) for i, c in enumerate(group)
    ]
    learner = Learner(policy, given)
    first, second = (
        learner.update(rollouts, 0, measure_terms=False, stoppable=stoppable) for stoppable in (True, False)
    )
    assert first["clip_ratio/region_mean"] == 0
    assert first["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-3)
    assert second["clip_ratio/region_mean"] > 0.5
    assert {int(state["step"]) for state in learner.optimizer.state.values()} == {2}
    assert torch.isfinite(torch.tensor(list(second.values()))).all()


def test_metrics_of_updates_are_means_sums_and_maxima() -> None:
    first = {"loss": 1.0, "time/optim": 1.0, "num_tokens": 5.0, "a/max": 2.0, "uniapl/grad_norm_sft": 3.0}
    second = {"loss": 2.0, "time/optim": 3.0, "num_tokens": 5.0, "a/max": 1.0}
    merged = {"loss": 1.5, "time/optim": 4.0, "num_tokens": 10.0, "a/max": 2.0, "uniapl/grad_norm_sft": 3.0}
    assert over_updates([first, second]) == merged
    assert over_updates([first]) == first
