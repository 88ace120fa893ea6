"""Prompts stored once for a group against prompts stored for every completion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen3Config,
)

import uniapl.model.attention  # noqa: F401  # registers the attention function
from uniapl.rollout import continuation
from uniapl.rollout.continuation import Continuation, can_share, continue_prompts, prefill
from uniapl.rollout.kv_cache import GrowingLayer, SharedPromptLayer

pytestmark = pytest.mark.integration

TINY: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [2, 1], [9, 8, 7, 1]]


def student(config: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


@torch.no_grad()
def logits_of(model: PreTrainedModel, *, share: bool) -> tuple[list[torch.Tensor], Continuation]:
    """Logits of six completions while rows leave the batch, the last of a prompt among them."""
    _, cache, mask = prefill(model, PROMPTS, 0)
    batch = continue_prompts(model, cache, mask, 2, share=share)
    batch.keep(torch.tensor([0, 1, 2, 3, 5]))  # one ended with its first token
    tokens = torch.tensor([11, 12, 13, 14, 16])
    found = [batch.forward(tokens)]
    for keep in ([0, 1, 3, 4], [0, 1, 2], [2]):
        batch.keep(torch.tensor(keep))
        tokens = tokens[keep] + 1
        found += [batch.forward(tokens), batch.forward(tokens + 3)]
    return found, batch


@pytest.mark.parametrize("config", [LlamaConfig(**TINY), Qwen3Config(**TINY)], ids=["llama", "qwen3"])
def test_shared_prompts_have_the_logits_of_repeated_ones(config: Any) -> None:
    model = student(config)
    repeated, rest = logits_of(model, share=False)
    shared, batch = logits_of(model, share=True)
    for a, b in zip(shared, repeated, strict=True):
        assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert {type(layer) for layer in batch.cache.layers} == {SharedPromptLayer}
    assert {type(layer) for layer in rest.cache.layers} == {GrowingLayer}
    with torch.no_grad():
        assert can_share(model, 0)


@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(**TINY),  # caps, and windows in every other layer
        MistralConfig(**TINY, sliding_window=4),
        GptOssConfig(**TINY, num_local_experts=2, num_experts_per_tok=1),  # sinks
    ],
    ids=["gemma2", "mistral", "gpt-oss"],
)
def test_students_with_another_attention_repeat_their_prompts(config: Any) -> None:
    with torch.no_grad():
        assert not can_share(student(config), 0)


def test_a_student_that_would_ignore_shared_prompts_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = student(LlamaConfig(**TINY))
    model.set_attn_implementation("eager")  # does not see the attribute of the keys
    with torch.no_grad():
        assert not can_share(model, 0)
    monkeypatch.setattr(continuation, "TOLERANCES", {torch.float32: 0.0, torch.bfloat16: 0.0})
    with torch.no_grad():
        assert not can_share(student(LlamaConfig(**TINY)), 0)  # logits are compared


def test_a_prompt_takes_memory_once() -> None:
    model = student(LlamaConfig(**TINY))
    sizes = {}
    for share in (False, True):
        _, cache, mask = prefill(model, [[1] * 1000], 0)
        batch = continue_prompts(model, cache, mask, 16, share=share)
        batch.forward(torch.ones(16, dtype=torch.long))
        sizes[share] = sum(stored_bytes(layer) for layer in batch.cache.layers)
    one = 2 * 2 * 1000 * 2 * 8 * 4  # keys and values, layers, tokens, heads, their size, bytes
    assert sizes[False] >= 16 * one
    assert sizes[True] < 2.2 * one  # the prompt, and spare capacity for 64 tokens of each completion


def stored_bytes(layer: Any) -> int:
    prompts = getattr(layer, "_prompts", None)
    tensors = [*layer._buffers, *([] if prompts is None else [prompts.keys, prompts.values])]
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)
