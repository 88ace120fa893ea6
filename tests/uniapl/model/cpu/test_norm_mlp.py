"""Memory-efficient norms and gates have the numbers and gradients of transformers'."""

from __future__ import annotations

import copy
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close
from transformers import GemmaConfig, GemmaForCausalLM, LlamaConfig, Qwen3Config, Qwen3ForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from tests.uniapl.packed import gradient_of_a_group
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.cpu.norm_mlp import use_memory_efficient_norm_and_mlp
from uniapl.model.lora import with_lora
from uniapl.model.policy import Policy
from uniapl.spec.training import Lora, Resources

pytestmark = pytest.mark.integration

SMALL = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
}
ROWS = (2, 3)
"""Of tokens, in a batch."""


def norm() -> LlamaRMSNorm:
    layer = LlamaRMSNorm(16, eps=1e-3)  # large enough to be missed
    torch.nn.init.normal_(layer.weight)
    return layer


def gate(**changes: Any) -> LlamaMLP:
    return LlamaMLP(LlamaConfig(**(SMALL | changes)))


def ours(layer: torch.nn.Module) -> torch.nn.Module:
    """A copy with the memory-efficient forward."""
    found: Any = copy.deepcopy(layer)
    use_memory_efficient_norm_and_mlp(found)
    return found


def kept(layer: torch.nn.Module, states: Tensor) -> int:
    """Numbers saved for the backward per token, without parameters."""
    own = {parameter.data_ptr() for parameter in layer.parameters()}
    found: dict[int, int] = {}

    def keep(saved: Tensor) -> Tensor:
        if saved.data_ptr() not in own:
            found[saved.data_ptr()] = saved.numel()
        return saved

    with saved_tensors_hooks(keep, lambda saved: saved):
        out = layer(states)
    found.pop(out.data_ptr(), None)
    return sum(found.values()) // states[..., 0].numel()


def gradients(layer: torch.nn.Module, states: Tensor, outer: Tensor) -> tuple[Tensor, ...]:
    wanted = [states, *(p for p in layer.parameters() if p.requires_grad)]
    return torch.autograd.grad((layer(states) * outer).sum(), wanted)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("make", [norm, gate])
def test_the_same_numbers_and_gradients(make: Any, frozen: bool) -> None:
    torch.manual_seed(0)
    usual = make().requires_grad_(not frozen)
    found, states, outer = ours(usual), torch.randn(*ROWS, 16, requires_grad=True), torch.randn(*ROWS, 16)
    assert "forward" in vars(found)
    assert_close(found(states), usual(states))
    assert_close(gradients(found, states, outer), gradients(usual, states, outer), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [norm, gate])
def test_gradients_by_differences(make: Any) -> None:
    torch.manual_seed(0)
    found = ours(make().double())
    assert torch.autograd.gradcheck(
        lambda states, *_: found(states),
        (torch.randn(*ROWS, 16, dtype=torch.float64, requires_grad=True), *found.parameters()),
    )


def test_less_is_saved_per_token() -> None:
    states = torch.randn(*ROWS, 16, requires_grad=True)
    assert kept(norm(), states) == 2 * 16 + 1
    assert kept(ours(norm()), states) == 16 + 1
    assert kept(gate(), states) == 16 + 4 * 40
    assert kept(ours(gate()), states) == 16 + 2 * 40


@pytest.mark.parametrize("changes", [{"hidden_act": "gelu"}, {"mlp_bias": True}])
def test_other_gates_are_unchanged(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    usual, states = gate(**changes), torch.randn(*ROWS, 16)
    for parameter in usual.parameters():
        torch.nn.init.normal_(parameter)
    assert_close(ours(usual)(states), usual(states), rtol=0, atol=0)


def test_other_dtypes_use_the_original_forward() -> None:
    for make in (norm, gate):
        layer, states = make().bfloat16(), torch.randn(*ROWS, 16).bfloat16()
        assert_close(ours(layer)(states), layer(states), rtol=0, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer, states = gate(), torch.randn(*ROWS, 16)
        assert_close(ours(layer)(states), layer(states), rtol=0, atol=0)


def changed(model: Any) -> set[str]:
    """Types of layers whose forward is replaced."""
    use_memory_efficient_norm_and_mlp(model)
    return {type(m).__name__ for m in model.modules() if isinstance(vars(m).get("forward"), MethodType)}


def test_layers_are_recognised_by_their_bytecode() -> None:
    qwen = Qwen3ForCausalLM(Qwen3Config(**SMALL))
    assert changed(qwen) == {"Qwen3RMSNorm", "Qwen3MLP"}
    gemma = GemmaForCausalLM(GemmaConfig(**SMALL))  # one plus the weight, and another activation
    assert changed(gemma) == set()


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("lora", [True, False])
def test_a_students_gradient_is_that_of_its_original_layers(policy: Policy, lora: bool, checkpointing: bool) -> None:
    policy = with_lora(policy, Lora(rank=4), seed=0) if lora else policy
    wrap_blocks(policy.model, Resources(gradient_checkpointing=checkpointing))
    found = gradient_of_a_group(policy)
    layers = [m for m in policy.model.modules() if isinstance(vars(m).get("forward"), MethodType)]
    assert len(layers) == 3 * policy.model.config.num_hidden_layers + 1
    for layer in layers:
        del layer.forward
    assert_close(found, gradient_of_a_group(policy), rtol=1e-4, atol=1e-5)
