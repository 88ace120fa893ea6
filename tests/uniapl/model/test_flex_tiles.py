"""Selection of FlexAttention's tiles, with a compiler that refuses large ones, as for GPUs of little shared memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.backends.registry import lookup_backend
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.cuda_on_cpu import FLEX, Compiled, emulate_cuda
from tests.compiler_warnings import COMPILER_WARNINGS
from uniapl.batching.packing import BLOCK, Layout
from uniapl.model.attention import TILES
from uniapl.model.layout_check import disagreement, slower, with_layout
from uniapl.model.policy import Policy

pytestmark = [pytest.mark.integration, *COMPILER_WARNINGS]
TRITON = "No valid triton configs. OutOfMemoryError: out of resource: triton_tem_fused_0 Required: 131072 Limit: 101376"
Kernel = tuple[dict[str, Any], torch.dtype, Any]
"""Options, type and row length of a compiled FlexAttention."""


@pytest.fixture
def compiled() -> Iterator[Compiled]:
    with emulate_cuda() as counts:
        yield counts


def kernels(graph: torch.fx.GraphModule) -> list[Kernel]:
    found = [node for node in graph.graph.nodes if node.target is FLEX]
    queries = [node.args[0].meta["example_value"] for node in found]
    return [(node.args[6], query.dtype, query.shape[2]) for node, query in zip(found, queries, strict=True)]


def refuse(compiled: Compiled, unfit: Callable[[dict[str, Any], torch.dtype, Any], bool]) -> None:
    """Make the compiler fail as Inductor does for FlexAttention with these options, type and row length."""
    compiling = lookup_backend("aot_eager")

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        if any(unfit(*kernel) for kernel in kernels(graph)):
            raise RuntimeError(TRITON)
        return compiling(graph, inputs)

    compiled.backend.backend = backend


def student() -> Policy:
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 1, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}

    class Tokenizer:
        pad_token_id = eos_token_id = 0

    return Policy(Qwen3ForCausalLM(Qwen3Config(**sizes, **heads)).eval(), Tokenizer())  # type: ignore[arg-type]


def is_large(options: dict[str, Any]) -> bool:
    return options.get("fwd_BLOCK_M", 128) > 64


def test_tiles_that_fit_the_gpu_are_selected_before_sharing_is_given_up(compiled: Compiled) -> None:
    refuse(compiled, lambda options, *_: is_large(options))
    policy, reason = with_layout(student())
    assert policy.layout == Layout("blocks", tiles="small")
    assert reason == f"RuntimeError: {TRITON}"
    message = slower(policy.layout, reason)
    assert "'small' tiles" in message
    assert "BLOCK_M 64, BLOCK_N 32" in message
    assert "shared memory" in message
    assert disagreement(policy, policy.layout) is None


def test_tiles_are_selected_for_the_type_that_is_trained(compiled: Compiled) -> None:
    refuse(compiled, lambda options, dtype, _: is_large(options) and dtype == torch.bfloat16)
    assert with_layout(student())[0].layout.tiles == "small"
    refuse(compiled, lambda options, dtype, _: is_large(options) and dtype == torch.float32)
    torch._dynamo.reset()
    policy, reason = with_layout(student())
    assert (policy.layout, reason) == (Layout("blocks"), None)


def test_kernels_that_fail_for_rows_of_several_tiles_are_detected(compiled: Compiled) -> None:
    refuse(compiled, lambda _, __, length: not isinstance(length, int) or length > BLOCK)
    policy, reason = with_layout(student())
    assert policy.layout == Layout("rows")
    assert reason == f"RuntimeError: {TRITON}"
    message = slower(policy.layout, reason)
    assert message.startswith("completions of one prompt are trained without sharing it, which is slower: ")


@pytest.mark.parametrize("options", TILES.values())
def test_tiles_divide_those_of_the_mask_and_each_other(options: dict[str, int]) -> None:
    """As Triton's templates of FlexAttention assert."""
    sizes = {name: size for name, size in options.items() if "BLOCK" in name}
    assert all(BLOCK % size == 0 for size in sizes.values())
    if options:
        assert sizes["bwd_BLOCK_N1"] % sizes["bwd_BLOCK_M1"] == sizes["bwd_BLOCK_M2"] % sizes["bwd_BLOCK_N2"] == 0


def test_every_layer_and_pass_uses_the_selected_tiles(compiled: Compiled) -> None:
    policy = student()
    disagreement(policy, Layout("blocks", tiles="smallest"))
    used = [options for graph in compiled.backend.graphs for options, *_ in kernels(graph)]
    assert used
    assert all(TILES["smallest"].items() <= options.items() for options in used)
