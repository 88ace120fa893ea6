"""How rollouts are sampled fast: the choice of a token in two looks, and a cache with room to grow."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from transformers import DynamicCache, FalconH1Config, Mamba2Config
from transformers.cache_utils import DynamicLayer

from uniapl.batching.packing import CACHE_ROOM
from uniapl.errors import ModelError
from uniapl.model.policy import Policy
from uniapl.rollout.generator import Completion
from uniapl.rollout.kv_cache import GrowingLayer, with_growing_layers
from uniapl.rollout.token_sampling import SEGMENT, _invert, sample_tokens
from uniapl.rollout.transformers import TransformersGenerator

pytestmark = pytest.mark.integration

PROMPTS = [[5, 9, 400, 31], [77], [5, 9, 400, 31, 8, 1000, 12]]


def running_sum(logits: Tensor, draws: Tensor, temperature: float) -> Tensor:
    """The same choice the plain way: one running sum over the whole vocabulary, in float64."""
    running = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    return torch.searchsorted(running, draws.double()[:, None] * running[:, -1:], right=True).squeeze(1)


@given(
    vocabulary=st.sampled_from([3, SEGMENT - 1, SEGMENT, SEGMENT + 1, 5 * SEGMENT, 1000]),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    spread=st.sampled_from([0.0, 1.0, 10.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_the_choice_is_that_of_a_running_sum(vocabulary: int, temperature: float, spread: float, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(64, vocabulary, generator=source)
    draws = torch.rand(64, generator=source)
    tokens, logprobs = sample_tokens(logits, draws, temperature=temperature, greedy=False)
    plain = running_sum(logits, draws, temperature)
    if not tokens.equal(plain):  # a draw within rounding of a border between two tokens
        probabilities = torch.softmax(logits.double() / temperature, dim=-1)
        borders = probabilities.cumsum(dim=-1)
        for b in (tokens != plain).nonzero().flatten().tolist():
            low, high = sorted((int(tokens[b]), int(plain[b])))
            assert (borders[b, low:high] - draws[b].double()).abs().max() < 1e-6
    expected = torch.log_softmax(logits.double() / temperature, dim=-1).gather(-1, tokens[:, None]).squeeze(1)
    assert_close(logprobs.double(), expected, atol=1e-5, rtol=1e-5)


def test_the_ends_of_the_draws_choose_tokens_that_can_be_chosen() -> None:
    logits = torch.full((3, 700), -torch.inf)
    logits[:, [300, 650]] = 0.0
    draws = torch.tensor([0.0, 1 - 2**-24, 1 - 2**-53], dtype=torch.float64)
    tokens, logprobs = sample_tokens(logits, draws, temperature=1.0, greedy=False)
    assert tokens.tolist() == [300, 650, 650]
    assert_close(logprobs, torch.full((3,), 0.5).log())


def test_rounding_does_not_lead_to_before_a_stretch() -> None:
    segments = torch.zeros(1, 3, SEGMENT, dtype=torch.float64)
    segments[0, 0, 0] = segments[0, 2, 0] = 128.0
    segments[0, 1, 5] = 1.5 * 2**-45  # its running sum is rounded up by more than the draw is beyond the segment before
    draws = torch.tensor([[0.5 - 2**-54]], dtype=torch.float64)
    assert _invert(segments, segments.sum(dim=-1), draws).tolist() == [SEGMENT + 5]


def test_a_run_that_has_diverged_still_samples_tokens_of_the_vocabulary() -> None:
    tokens, _ = sample_tokens(torch.full((1, 300), torch.nan), torch.tensor([0.5]), temperature=1.0, greedy=False)
    assert 0 <= int(tokens) < 300


def test_greedy_takes_the_likeliest_token() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, -1.0, 0.0]])
    tokens, logprobs = sample_tokens(logits, torch.tensor([0.99, 0.99]), temperature=0.5, greedy=True)
    assert tokens.tolist() == [1, 0]
    assert_close(logprobs, torch.log_softmax(logits / 0.5, dim=-1)[[0, 1], [1, 0]])


def test_a_layer_with_room_holds_what_one_without_does() -> None:
    source = torch.Generator().manual_seed(0)
    with_room, without = GrowingLayer(), DynamicLayer()
    rows = 2

    def append(tokens: int) -> None:
        keys, values = torch.randn(2, rows, 3, tokens, 4, generator=source)
        for found, expected in zip(with_room.update(keys, values), without.update(keys, values), strict=True):
            assert found.equal(expected)

    append(5)
    for layer in (with_room, without):
        layer.batch_repeat_interleave(3)
    rows = 6
    for _ in range(CACHE_ROOM + 2):  # beyond the first room
        append(1)
    keep = torch.tensor([0, 3, 5])
    for layer in (with_room, without):
        layer.batch_select_indices(keep)
    rows = 3
    append(1)
    append(CACHE_ROOM + 5)  # more than there is room for, at once
    assert with_room.get_seq_length() == without.get_seq_length() == 2 * CACHE_ROOM + 13
    assert with_room.get_mask_sizes(1) == without.get_mask_sizes(1)


def test_a_further_token_moves_none_of_those_before() -> None:
    layer = GrowingLayer()
    layer.update(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4))
    layer.batch_repeat_interleave(2)
    where = layer.keys.data_ptr()
    for _ in range(CACHE_ROOM):
        layer.update(torch.ones(4, 1, 1, 4), torch.ones(4, 1, 1, 4))
        assert layer.keys.data_ptr() == where
    assert layer.keys.shape == (4, 1, 3 + CACHE_ROOM, 4)


def test_windows_keep_their_own_cache(policy: Policy) -> None:
    config = policy.model.config.__class__(num_hidden_layers=2, layer_types=["full_attention", "full_attention"])
    assert [type(layer) for layer in with_growing_layers(DynamicCache(config=config)).layers] == [
        GrowingLayer,
        GrowingLayer,
    ]
    config = policy.model.config.__class__(num_hidden_layers=2)
    config.layer_types, config.sliding_window = ["sliding_attention", "full_attention"], 8
    first, second = with_growing_layers(DynamicCache(config=config)).layers
    assert not isinstance(first, GrowingLayer)
    assert isinstance(second, GrowingLayer)


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (FalconH1Config(num_hidden_layers=1), "LinearAttentionAndFullAttentionLayer"),
        (Mamba2Config(num_hidden_layers=1), "LinearAttentionLayer"),
    ],
)
def test_a_student_whose_states_cannot_be_repeated_is_refused(policy: Policy, config: Any, kept: str) -> None:
    hybrid = replace(policy, model=SimpleNamespace(config=config))
    with pytest.raises(ModelError, match=f"cannot be sampled in groups here: its {kept} keeps more") as refused:
        TransformersGenerator(hybrid, temperature=1.0, max_new_tokens=4, batch_size=4)
    assert refused.value.param == "student"
    assert "vllm" in (refused.value.hint or "")


def one_by_one(policy: Policy, prompt: list[int], draws: Tensor, temperature: float) -> Completion:
    """The plain path: the whole sequence again for every token, no cache, no batch, no padding."""
    ids: list[int] = []
    logprobs: list[float] = []
    for draw in draws:
        with torch.no_grad():
            logits = policy.model(torch.tensor([prompt + ids]), use_cache=False).logits[:, -1]
        token = int(running_sum(logits, draw[None], temperature))
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
