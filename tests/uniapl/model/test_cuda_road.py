"""The code of a GPU run on a CPU (`benchmarks.cuda_on_cpu`): shared prompts give the results of separate rows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.cuda_on_cpu import Compiled, emulate_cuda
from uniapl.batching.batch import Sequence
from uniapl.batching.packed import PackedBatch, pack
from uniapl.batching.packing import Layout
from uniapl.model.layout_check import disagreement
from uniapl.model.logprobs import completion_logprobs, precision
from uniapl.model.policy import Policy

pytestmark = [
    pytest.mark.integration,
    # torch's compiler uses deprecated functions, and reads gradients
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]
CPU = torch.device("cpu")
VOCABULARY = 97
GROUPS = {
    "one tile": [(20, (30, 30))],
    "several trees": [(130, (100, 129, 3)), (40, (260,)), (1, (127, 1))],
    "many branches": [(300, (40,) * 5)],
    "branches of more than a tile": [(500, (200,) * 3)],
}
"""Tokens of each prompt and of its completions, around the edges of tiles of 128."""
Groups = list[tuple[int, tuple[int, ...]]]


@pytest.fixture
def compiled() -> Iterator[Compiled]:
    with emulate_cuda() as counts:
        yield counts


def student() -> Policy:
    """A random Qwen3 with grouped heads and spread logits."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=4096,
        initializer_range=0.1,
        pad_token_id=None,
    )
    return Policy(Qwen3ForCausalLM(config).eval(), _Tokenizer())  # type: ignore[arg-type]


class _Tokenizer:
    pad_token_id = eos_token_id = 0


def sequences(groups: Groups) -> list[Sequence]:
    draw = random.Random(0)

    def ids(count: int) -> list[int]:
        return draw.choices(range(VOCABULARY), k=count)

    prompts = [(ids(prompt), completions) for prompt, completions in groups]
    return [Sequence(p, ids(n), coef=draw.gauss(0, 1)) for p, completions in prompts for n in completions]


def measured(policy: Policy, groups: Groups, kind: str, *, cast: bool) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all completion tokens, and the gradient of their weighted sum as one vector."""
    by_weight: dict[float, Tensor] = {}  # the layouts order sequences differently
    parameters = list(policy.model.parameters())
    gradient = torch.zeros(sum(p.numel() for p in parameters))
    for packed in packs(groups, kind):
        with precision(CPU) if cast else nullcontext():
            logprobs, _ = completion_logprobs(policy.model, packed, temperature=0.8)
        parts = torch.autograd.grad((packed.batch.coef[:, None] * logprobs).sum(), parameters)
        gradient += torch.cat([part.flatten() for part in parts])
        for weight, row, mask in zip(
            packed.batch.coef.tolist(), logprobs.detach(), packed.batch.completion_mask, strict=True
        ):
            by_weight[weight] = row[mask]
    return torch.cat([by_weight[weight] for weight in sorted(by_weight)]), gradient


def packs(groups: Groups, kind: str) -> Iterator[PackedBatch]:
    return pack(sequences(groups), 100_000, 0, CPU, Layout(kind))  # type: ignore[arg-type]


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", GROUPS)
def test_flex_attention_in_float32_gives_the_results_of_separate_rows(compiled: Compiled, name: str) -> None:
    policy = student()
    logprobs, gradient = measured(policy, GROUPS[name], "blocks", cast=False)
    assert compiled.flex_variants > 0
    expected, expected_gradient = measured(policy, GROUPS[name], "plain", cast=False)
    assert (logprobs - expected).abs().max() < 1e-4
    assert distance(gradient, expected_gradient) < 1e-4


def test_flex_attention_in_bfloat16_is_as_exact_as_separate_rows(compiled: Compiled) -> None:
    policy, groups = student(), GROUPS["several trees"]
    exact, exact_gradient = measured(policy, groups, "plain", cast=False)
    logprobs, gradient = measured(policy, groups, "blocks", cast=True)
    plain, plain_gradient = measured(policy, groups, "plain", cast=True)
    error, wanted = (logprobs - exact).abs().mean(), (plain - exact).abs().mean()
    assert 0 < error <= min(0.02, 1.2 * wanted)
    assert 0 < distance(gradient, exact_gradient) <= min(3e-2, 1.2 * distance(plain_gradient, exact_gradient))


def test_row_lengths_share_a_few_compiled_variants_of_flex_attention(compiled: Compiled) -> None:
    policy = student()
    assert disagreement(policy, Layout("blocks")) is None
    for groups in (*GROUPS.values(), [(5, (6, 7))], [(200, (300,))], [(300, (200, 200, 300))]):
        measured(policy, groups, "blocks", cast=True)
        with torch.no_grad(), precision(CPU):  # as an evaluation, or the reference of the KL penalty
            for packed in packs(groups, "blocks"):
                completion_logprobs(policy.model, packed, temperature=1.0)
    assert 0 < compiled.flex_variants <= 6
    assert compiled.frames == compiled.flex_variants


def test_the_emulation_restores_every_setting() -> None:
    def settings() -> list[object]:
        from torch.nn.attention import flex_attention
        from transformers.integrations import flex_attention as in_transformers

        from uniapl.model.kernels import kernels_for

        compile_flex = in_transformers.compile_friendly_flex_attention
        validate, donated = flex_attention._validate_device, torch._functorch.config.donated_buffer
        wrapper = in_transformers.WrappedFlexAttention._instance
        return [torch.compile, validate, compile_flex, wrapper, kernels_for(CPU), donated, precision(CPU).__class__]

    before = settings()
    with emulate_cuda():
        differences = [a is not b for a, b in zip(settings(), before, strict=True)]
    assert differences[:3] == [True] * 3
    assert differences[4]
    assert differences[6]
    assert all(a is b for a, b in zip(settings(), before, strict=True))
