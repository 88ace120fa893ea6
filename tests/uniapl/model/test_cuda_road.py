"""The code of a GPU run on a CPU (`benchmarks.cuda_on_cpu`): shared prompts give the results of separate rows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache, Qwen3Config, Qwen3ForCausalLM

from benchmarks.cuda_on_cpu import Compiled, emulate_cuda
from tests.compiler_warnings import COMPILER_WARNINGS
from tests.conftest import MODELS
from uniapl.batching.batch import Sequence
from uniapl.batching.packed import PackedBatch, pack
from uniapl.batching.packing import Layout
from uniapl.discriminators import learned
from uniapl.discriminators.base import Comparison
from uniapl.discriminators.learned import LearnedDiscriminator
from uniapl.model.layout_check import disagreement
from uniapl.model.logprobs import completion_logprobs, precision
from uniapl.model.policy import Policy, Reference, load_policy, load_reference
from uniapl.rollout.kv_cache import GrowingLayer, with_growing_layers
from uniapl.run.config import ModelSource
from uniapl.spec.discriminator import LearnedDiscriminator as Options

pytestmark = [pytest.mark.integration, *COMPILER_WARNINGS]
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


class _Casts(TorchDispatchMode):
    """Counts copies to another type."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._to_copy.default
        return func(*args, **(kwargs or {}))


def test_a_reference_in_bfloat16_gives_the_same_numbers_without_casts_of_weights(compiled: Compiled) -> None:
    source = ModelSource(path=str(MODELS / "tiny-random-llama"))
    frozen = Reference(load_policy(source, CPU).model.requires_grad_(False), adapted=False)
    half = load_reference(source, CPU)
    (packed,) = pack([Sequence([5, 6, 7], [8, 9]), Sequence([5, 6, 7], [4, 2])], 1000, 0, CPU, Layout("rows"))
    found, casts = [], []
    for reference in (frozen, half):
        with _Casts() as counted, precision(CPU):
            found.append(reference.logprobs(packed, temperature=1.0))
        casts.append(counted.count)
    assert torch.equal(found[0], found[1])
    linear = [m for m in half.model.get_decoder().modules() if isinstance(m, torch.nn.Linear)]
    assert casts[0] - casts[1] >= len(linear)
    assert all(m.weight.dtype == torch.bfloat16 for m in linear)
    assert not any(p.requires_grad for p in half.model.parameters())
    assert half.model.get_input_embeddings().weight.dtype == torch.float32


def test_the_cache_of_a_rollout_holds_keys_and_values_in_bfloat16(compiled: Compiled) -> None:
    policy, cache = student(), with_growing_layers(DynamicCache())
    cache.layers = [GrowingLayer() for _ in policy.model.model.layers]
    with torch.no_grad(), precision(CPU):
        exact = policy.model(torch.tensor([[3, 1, 4, 1]]), use_cache=False).logits[:, -1]
        for token in (3, 1, 4, 1):
            logits = policy.model(torch.tensor([[token]]), past_key_values=cache, use_cache=True).logits[:, -1]
    assert {kept.dtype for layer in cache.layers for kept in (layer.keys, layer.values)} == {torch.bfloat16}
    torch.testing.assert_close(logits, exact, atol=0.1, rtol=0.05)


def test_a_learned_discriminator_multiplies_in_bfloat16_and_bounds_a_backward_pass(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(most: int) -> tuple[list[Tensor], list[int]]:
        monkeypatch.setattr(learned, "BACKWARD_TOKENS", most)
        judge = LearnedDiscriminator(
            ModelSource(path=str(MODELS / "tiny-random-llama")), options=Options(), seed=0, device=CPU
        )
        gradients: list[Tensor] = []
        rows: list[int] = []
        judge._optimizer.register_step_pre_hook(
            lambda *_: gradients.extend(p.grad.clone() for p in judge._parameters().values() if p.grad is not None)
        )

        def count(layer: Any, args: Any, out: Tensor) -> None:
            assert out.dtype == torch.bfloat16
            rows.append(out.shape[0])

        judge._backbone.layers[0].mlp.up_proj.register_forward_hook(count)
        judge.learn([Comparison(f"question {i}", "a right answer", "another " * (i + 1)) for i in range(4)])
        assert judge.score([Comparison("q", "a", "b")]).dtype == torch.float32
        return gradients, rows[:-1]

    whole, at_once = learn(10**6)
    parts, in_pieces = learn(1)
    assert (at_once, in_pieces) == ([8], [2, 2, 2, 2])
    assert distance(torch.cat([g.flatten() for g in parts]), torch.cat([g.flatten() for g in whole])) < 3e-2
