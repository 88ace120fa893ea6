"""Sampling from students whose layers have states of convolutions or recurrences beside keys and values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.uniapl.rollout.test_transformers import PROMPTS, one_by_one
from tests.uniapl.students import RECURRENT, load_student, save_student
from uniapl.errors import ModelError
from uniapl.rollout.transformers import TransformersGenerator

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("kind", sorted(RECURRENT))
def test_rollouts_are_those_of_sequences_grown_one_by_one(kind: str, tmp_path: Path) -> None:
    policy = load_student(save_student(kind, tmp_path / "student"))
    policy.model.generation_config.eos_token_id = list(range(0, 1000, 7))  # rows end at different times
    prompts = [*PROMPTS, PROMPTS[2][::-1], PROMPTS[0][::-1]]  # two pairs of equal length
    sampler = TransformersGenerator(policy, temperature=0.7, max_new_tokens=12, batch_size=6)
    groups = sampler.sample(prompts, group_size=3, seed=3)
    draws = torch.rand(len(prompts) * 3, 12, generator=torch.Generator().manual_seed(3))
    lengths = set()
    for p, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
        for g, completion in enumerate(group):
            expected = one_by_one(policy, prompt, draws[3 * p + g], 0.7)
            assert completion.ids == expected.ids
            assert completion.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
            lengths.add(len(completion.ids))
    assert len(lengths) > 1


def test_a_student_with_a_cache_of_its_own_is_refused_when_it_is_sampled(tmp_path: Path) -> None:
    policy = load_student(save_student("minimax", tmp_path / "student"))
    sampler = TransformersGenerator(policy, temperature=1.0, max_new_tokens=4, batch_size=4)
    with pytest.raises(ModelError, match="MiniMaxForCausalLM cannot be sampled by transformers: MiniMax uses") as found:
        sampler.sample(PROMPTS, group_size=2, seed=0)
    assert found.value.param == "student"
    assert "vllm" in (found.value.hint or "")
