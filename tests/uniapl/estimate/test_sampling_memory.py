"""Key-value caches of sampling in the trainer's process: the estimate against the tensors that sampling holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import uniapl.model.attention  # noqa: F401  # registers the attention function
from tests.uniapl.held import peak
from uniapl.estimate import memory
from uniapl.estimate.model_shape import from_config
from uniapl.rollout.continuation import continue_prompts, prefill
from uniapl.spec.job import JobSpec

pytestmark = pytest.mark.integration

CONFIG = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=6, num_attention_heads=4,
    num_key_value_heads=4, head_dim=16, pad_token_id=0, max_position_embeddings=4096,
)  # fmt: skip
SPEC = JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}]})


@pytest.mark.parametrize(
    ("prompt", "answer", "prompts", "group_size"),
    [(400, 20, 4, 8), (60, 200, 2, 8), (100, 80, 16, 1)],
    ids=["long prompts", "long answers", "no groups"],
)
def test_caches_take_the_estimated_memory(prompt: int, answer: int, prompts: int, group_size: int) -> None:
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(CONFIG).eval()

    @torch.no_grad()
    def sample() -> None:
        _, cache, mask = prefill(model, [[5 + i] * prompt for i in range(prompts)], 0)
        batch = continue_prompts(model, cache, mask, group_size, share=group_size > 1)
        del cache
        assert (batch.shared is None) == (group_size == 1)
        for _ in range(answer):
            batch.forward(torch.full((prompts * group_size,), 7))

    shape = from_config(CONFIG.to_dict())
    expected = memory._batch(SPEC, shape, prompt, answer, prompts, group_size, "cpu")
    assert expected == pytest.approx(peak(sample), rel=0.3)
