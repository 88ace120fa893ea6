"""Rollouts with transformers against sequences grown token by token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.uniapl.rollout.cumulative_sum import cumulative_sum_token
from uniapl.model.policy import Policy
from uniapl.rollout.generator import Completion
from uniapl.rollout.stop_strings import before_stop
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.rollout.truncation import Truncation

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


def test_a_stop_string_ends_a_completion_with_the_token_that_completes_it(policy: Policy) -> None:
    options: dict[str, Any] = {"temperature": 0.7, "max_new_tokens": 24, "batch_size": 4}
    (free,) = TransformersGenerator(policy, **options).sample(PROMPTS[:1], group_size=4, seed=3)
    end = len(policy.text(free[0].ids[:8]))
    stop = policy.text(free[0].ids[:12])[end - 3 : end + 3]  # begins within one token and ends within another
    (stopped,) = TransformersGenerator(policy, **options, stop=["never there", stop]).sample(
        PROMPTS[:1], group_size=4, seed=3
    )
    assert stopped[0].ids == free[0].ids[: len(stopped[0].ids)]
    assert len(stopped[0].logprobs) == len(stopped[0].ids) < len(free[0].ids)
    assert not stopped[0].truncated
    assert stop in policy.text(stopped[0].ids)
    assert stop not in policy.text(stopped[0].ids[:-1])
    assert [c.ids for c in stopped[1:] if stop not in policy.text(c.ids)] == [
        c.ids for c in free[1:] if stop not in policy.text(c.ids)
    ]


def test_the_judged_text_ends_before_the_first_stop_string() -> None:
    assert before_stop("an answer\nQ: another", ["nowhere", "\nQ:"]) == "an answer"
    assert before_stop("a b c", ["c", "b"]) == "a "
    assert before_stop("an answer", ["x"]) == before_stop("an answer", []) == "an answer"


def test_truncated_sampling_takes_the_likeliest_tokens(policy: Policy) -> None:
    options: dict[str, Any] = {"temperature": 0.7, "max_new_tokens": 8, "batch_size": 4}
    greedy = TransformersGenerator(policy, **options).sample(PROMPTS, group_size=1, seed=3, greedy=True)
    one = TransformersGenerator(policy, **options, truncation=Truncation(top_k=1))
    assert one.sample(PROMPTS, group_size=1, seed=3) == greedy
