"""Rollouts with transformers against sequences grown token by token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.uniapl.rollout.cumulative_sum import cumulative_sum_token
from uniapl.model.policy import Policy
from uniapl.rollout.generator import Completion
from uniapl.rollout.transformers import TransformersGenerator

pytestmark = pytest.mark.integration

PROMPTS = [[5, 9, 400, 31], [77], [5, 9, 400, 31, 8, 1000, 12]]


def one_by_one(policy: Policy, prompt: list[int], draws: Tensor, temperature: float) -> Completion:
    """The reference: a forward of the whole sequence for every token, without cache, batch or padding."""
    ids: list[int] = []
    logprobs: list[float] = []
    for draw in draws:
        with torch.no_grad():
            logits = policy.model(torch.tensor([prompt + ids]), use_cache=False).logits[:, -1]
        token = int(cumulative_sum_token(logits, draw[None], temperature))
        ids.append(token)
        logprobs.append(torch.log_softmax(logits[0].double() / temperature, dim=-1)[token].item())
        if token in policy.stop_ids:
            return Completion(ids, logprobs, truncated=False)
    return Completion(ids, logprobs, truncated=True)


@pytest.mark.parametrize("batch_size", [4, 64])
def test_rollouts_are_those_of_sequences_grown_one_by_one(policy: Policy, batch_size: int) -> None:
    with torch.no_grad():  # rows end at different times
        policy.model.get_output_embeddings().weight[policy.stop_ids[0]] += 0.5 * torch.ones(64)
    sampler = TransformersGenerator(policy, temperature=0.7, max_new_tokens=80, batch_size=batch_size)
    groups = sampler.sample(PROMPTS, group_size=4, seed=3)
    draws = torch.rand(12, 80, generator=torch.Generator().manual_seed(3))
    lengths = set()
    for p, (prompt, group) in enumerate(zip(PROMPTS, groups, strict=True)):
        for g, completion in enumerate(group):
            expected = one_by_one(policy, prompt, draws[4 * p + g], 0.7)
            assert completion.ids == expected.ids
            assert completion.truncated == expected.truncated
            assert completion.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
            lengths.add(len(completion.ids))
    assert len(lengths) > 4
