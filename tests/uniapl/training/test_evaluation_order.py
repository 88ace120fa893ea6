"""The order of an evaluation: the sampler releases a shared card before the discriminator and the policy compute."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from tests.uniapl.training.test_trainer import ROW
from uniapl.model.policy import Policy
from uniapl.rewards.pool import RewardPool
from uniapl.rollout.generator import Completion
from uniapl.spec.job import JobSpec
from uniapl.training.evaluation import evaluate

pytestmark = pytest.mark.integration


class Recorder:
    """A sampler, a discriminator and a verifier that record their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def sample(self, prompts: Any, *, group_size: int, greedy: bool = False, **_: Any) -> list[list[Completion]]:
        self.calls.append("greedy" if greedy else "sample")
        return [[Completion([5, 6], [-1.0, -1.0], truncated=True)] * group_size for _ in prompts]

    def release(self) -> None:
        self.calls.append("release")

    def score(self, pairs: Any) -> torch.Tensor:
        self.calls.append("score")
        return torch.zeros(len(pairs))

    def verify(self, questions: Any) -> list[Any]:
        assert questions == []
        return []


def test_all_answers_are_sampled_before_the_first_is_scored(policy: Policy) -> None:
    spec = JobSpec.model_validate(
        {"student": "s", "dataset_mix": [{"dataset": "d"}], "evaluation": {"dataset": "d", "profile_completions": 2}}
    )
    both = Recorder()
    given: dict[str, Any] = {"generator": both, "discriminator": both, "rewards": cast("RewardPool", both)}
    found = evaluate([ROW], spec=spec, policy=policy, micro_batch_tokens=64, progress=lambda: None, **given)
    assert both.calls == ["greedy", "sample", "release", "score", "score"]
    assert (len(found.greedy), len(found.sampled)) == (1, 2)
