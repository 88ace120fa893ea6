"""Activations that a GPU run keeps for its backward, counted tensor by tensor, against the estimate's formula."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from benchmarks.cuda_on_cpu import emulate_cuda
from benchmarks.gpu_check.activations import one_pack, saved_bytes
from tests.compiler_warnings import COMPILER_WARNINGS
from uniapl.batching.packing import Layout
from uniapl.estimate.activations import per_token
from uniapl.estimate.model_shape import from_config
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.lora import with_lora
from uniapl.model.policy import Policy
from uniapl.spec.training import Lora, Resources

pytestmark = [pytest.mark.integration, *COMPILER_WARNINGS]
MODELS: dict[str, Any] = {"qwen3": (Qwen3Config, Qwen3ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}
WIDTHS = {
    "0.6B": {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 384},
    "4B": {"hidden_size": 160, "num_attention_heads": 4, "num_key_value_heads": 1, "intermediate_size": 608},
}
"""Proportions of Qwen3's models, with heads of 64."""


def student(kind: str, layers: int, widths: dict[str, int]) -> Any:
    torch.manual_seed(0)
    config, model = MODELS[kind]
    sizes = {"vocab_size": 97, "num_hidden_layers": layers, "head_dim": 64, "max_position_embeddings": 1024}
    return model(config(**sizes, **widths, pad_token_id=None)).eval()


def layer_bytes(kind: str, widths: dict[str, int], lora: Lora | None, resources: Resources) -> float:
    """Bytes per token and layer: the difference between four layers and two."""
    counts = []
    for layers in (2, 4):
        tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=0)
        policy = Policy(student(kind, layers, widths), tokenizer, Layout("blocks"))
        policy = with_lora(policy, lora, seed=0) if lora else policy
        wrap_blocks(policy.model, resources)
        packed = one_pack(policy.device)  # 512 is no width of the models: shapes distinguish activations from weights
        counts.append(saved_bytes(policy.model, packed) / packed.input_ids.numel())
    return (counts[1] - counts[0]) / 2


@pytest.mark.parametrize("lora", [None, Lora(rank=8)], ids=["full", "lora"])
@pytest.mark.parametrize("widths", list(WIDTHS))
@pytest.mark.parametrize("kind", list(MODELS))
def test_a_layer_keeps_the_estimated_bytes_for_its_backward(kind: str, widths: str, lora: Lora | None) -> None:
    with emulate_cuda():
        found = layer_bytes(kind, WIDTHS[widths], lora, Resources())
    shape = from_config(student(kind, 1, WIDTHS[widths]).config.to_dict())
    assert per_token(shape, lora, "gpu") == pytest.approx(found, rel=0.05)


def test_with_checkpointing_a_layer_keeps_its_input() -> None:
    widths = WIDTHS["0.6B"]
    with emulate_cuda():
        found = layer_bytes("qwen3", widths, None, Resources(gradient_checkpointing=True))
    assert found == 4 * widths["hidden_size"]
