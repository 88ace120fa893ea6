"""Token sampling with a two-level search, against one cumulative sum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.uniapl.rollout.cumulative_sum import cumulative_sum_token
from uniapl.rollout.token_sampling import SEGMENT, _invert, sample_tokens
from uniapl.rollout.truncation import Truncation

pytestmark = pytest.mark.integration


@given(
    vocabulary=st.sampled_from([3, SEGMENT - 1, SEGMENT, SEGMENT + 1, 5 * SEGMENT, 1000]),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    spread=st.sampled_from([0.0, 1.0, 10.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_the_token_is_that_of_a_cumulative_sum(vocabulary: int, temperature: float, spread: float, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(64, vocabulary, generator=source)
    draws = torch.rand(64, generator=source)
    tokens, logprobs = sample_tokens(logits, draws, temperature=temperature, greedy=False)
    plain = cumulative_sum_token(logits, draws, temperature)
    if not tokens.equal(plain):  # a draw within rounding of a border between two tokens
        probabilities = torch.softmax(logits.double() / temperature, dim=-1)
        borders = probabilities.cumsum(dim=-1)
        for b in (tokens != plain).nonzero().flatten().tolist():
            low, high = sorted((int(tokens[b]), int(plain[b])))
            assert (borders[b, low:high] - draws[b].double()).abs().max() < 1e-6
    expected = torch.log_softmax(logits.double() / temperature, dim=-1).gather(-1, tokens[:, None]).squeeze(1)
    assert_close(logprobs.double(), expected, atol=1e-5, rtol=1e-5)


def test_the_extreme_draws_give_tokens_of_non_zero_probability() -> None:
    logits = torch.full((3, 700), -torch.inf)
    logits[:, [300, 650]] = 0.0
    draws = torch.tensor([0.0, 1 - 2**-24, 1 - 2**-53], dtype=torch.float64)
    tokens, logprobs = sample_tokens(logits, draws, temperature=1.0, greedy=False)
    assert tokens.tolist() == [300, 650, 650]
    assert_close(logprobs, torch.full((3,), 0.5).log())


def test_rounding_does_not_select_the_segment_before() -> None:
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


def by_hand(probabilities: list[float], truncation: Truncation) -> list[float]:
    """The kept tokens' probabilities, as the definitions read, token by token."""
    kept = dict(enumerate(probabilities))
    kept = {i: p for i, p in kept.items() if p >= truncation.min_p * max(probabilities)}
    if truncation.top_k:
        border = sorted(kept.values(), reverse=True)[: truncation.top_k][-1]
        kept = {i: p for i, p in kept.items() if p >= border}
    nucleus: dict[int, float] = {}
    for i, p in sorted(kept.items(), key=lambda item: -item[1]):
        if not nucleus or sum(nucleus.values()) < truncation.top_p * sum(kept.values()):
            nucleus[i] = p
    return [nucleus.get(i, 0.0) / sum(nucleus.values()) for i in range(len(probabilities))]


@pytest.mark.parametrize(
    "truncation",
    [
        Truncation(top_p=0.75),
        Truncation(top_p=1e-9),
        Truncation(top_k=2),
        Truncation(top_k=9),
        Truncation(min_p=0.3),
        Truncation(min_p=1.0),
        Truncation(top_p=0.7, top_k=3, min_p=0.15),
    ],
)
def test_truncated_distributions_are_renormalised_and_log_probabilities_are_not(truncation: Truncation) -> None:
    probabilities = [0.08, 0.4, 0.02, 0.3, 0.15, 0.05]
    temperature, number = 0.5, 4000
    logits = (temperature * torch.tensor(probabilities).log()).repeat(number, 1)
    draws = (torch.arange(number) + 0.5) / number
    tokens, logprobs = sample_tokens(logits, draws, temperature=temperature, greedy=False, truncation=truncation)
    found = tokens.bincount(minlength=6) / number
    assert found.tolist() == pytest.approx(by_hand(probabilities, truncation), abs=2 / number)
    assert_close(logprobs, torch.tensor(probabilities).log()[tokens], atol=1e-5, rtol=0)


def test_truncation_leaves_the_likeliest_token_alone() -> None:
    logits = torch.randn(8, 700, generator=torch.Generator().manual_seed(0))
    draws = torch.rand(8, generator=torch.Generator().manual_seed(1))
    greedy, logprobs = sample_tokens(logits, draws, temperature=1.0, greedy=True)
    for truncation in (Truncation(top_k=1), Truncation(top_p=1e-6), Truncation(min_p=1.0)):
        found = sample_tokens(logits, draws, temperature=1.0, greedy=False, truncation=truncation)
        assert found[0].equal(greedy)
        assert_close(found[1], logprobs)
