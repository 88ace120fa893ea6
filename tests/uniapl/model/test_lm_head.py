"""Log-probabilities in chunks: the same numbers, and memory that does not grow with tokens times vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.uniapl.held import peak
from tests.uniapl.packed import one_pack
from uniapl.batching.batch import Sequence
from uniapl.model import kernels, lm_head
from uniapl.model.lm_head import token_logprobs
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.policy import Policy

pytestmark = pytest.mark.integration


def chunks_of(monkeypatch: Any, logits: int) -> None:
    chosen = replace(kernels.kernels_for(torch.device("cpu")), chunk_logits=logits)
    monkeypatch.setitem(kernels.SELECTED, "cpu", chosen)


def naive(weight: Tensor, bias: Tensor, states: Tensor, ids: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    distribution = torch.log_softmax((states @ weight.T + bias) / temperature[:, None], dim=-1)
    return distribution[torch.arange(len(ids)), ids], -(distribution.exp() * distribution).sum(dim=-1)


@pytest.mark.parametrize("tokens_at_a_time", [1, 3, 7, 100])
def test_chunks_give_the_numbers_and_gradients_of_the_whole(monkeypatch: Any, tokens_at_a_time: int) -> None:
    chunks_of(monkeypatch, tokens_at_a_time * 11)
    torch.manual_seed(0)
    states = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True)
    ids, temperature = torch.randint(11, (7,)), torch.rand(7, dtype=torch.float64) + 0.5
    found = token_logprobs(states, weight, bias, ids, temperature)
    expected = naive(weight, bias, states, ids, temperature)
    assert_close(found[0], expected[0])
    assert_close(found[1], expected[1].detach())
    assert not found[1].requires_grad
    out = torch.randn(7, dtype=torch.float64)
    wanted = [states, weight, bias]
    gradients = [torch.autograd.grad((out * logprobs).sum(), wanted) for logprobs in (found[0], expected[0])]
    assert_close(gradients[0], gradients[1])


def test_the_last_chunk_is_computed_once_and_the_others_twice(monkeypatch: Any) -> None:
    chunks_of(monkeypatch, 3 * 11)
    rows, compute = [], lm_head._distribution
    monkeypatch.setattr(lm_head, "_distribution", lambda part, *rest: rows.append(len(part)) or compute(part, *rest))
    states, weight = torch.randn(7, 4, requires_grad=True), torch.randn(11, 4)
    token_logprobs(states, weight, None, torch.randint(11, (7,)), torch.ones(7))[0].sum().backward()
    assert rows == [1, 3, 3, 3, 1]  # forwards, then backwards


@pytest.mark.parametrize("tokens_at_a_time", [3, 100])
def test_every_backward_through_the_same_graph_gives_the_same(monkeypatch: Any, tokens_at_a_time: int) -> None:
    chunks_of(monkeypatch, tokens_at_a_time * 11)
    states, weight = torch.randn(7, 4, requires_grad=True), torch.randn(11, 4, requires_grad=True)
    logprobs, _ = token_logprobs(states, weight, None, torch.randint(11, (7,)), torch.ones(7))
    first, second = (torch.autograd.grad(logprobs.sum(), (states, weight), retain_graph=True) for _ in range(2))
    assert_close(first, second)


def test_logits_without_a_head_are_taken_as_they_are() -> None:
    logits = torch.randn(7, 11, dtype=torch.float64, requires_grad=True)
    ids, temperature = torch.randint(11, (7,)), torch.rand(7, dtype=torch.float64) + 0.5
    found, _ = token_logprobs(logits, None, None, ids, temperature)
    expected = torch.log_softmax(logits / temperature[:, None], dim=-1)[torch.arange(7), ids]
    assert_close(found, expected)
    gradients = [torch.autograd.grad(logprobs.cumsum(0).sum(), logits) for logprobs in (found, expected)]
    assert_close(gradients[0], gradients[1])


def test_autocast_multiplies_in_bfloat16_and_adds_the_weights_gradient_up_in_float32(monkeypatch: Any) -> None:
    chunks_of(monkeypatch, 64)  # one token at a time: 2000 sums
    torch.manual_seed(0)
    states, weight = torch.randn(2000, 8), torch.randn(64, 8, requires_grad=True)
    ids = torch.randint(64, (2000,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = token_logprobs(states, weight, None, ids, torch.ones(2000))
    rounded = weight.detach().bfloat16().float().requires_grad_()
    expected = torch.log_softmax(states.bfloat16().float() @ rounded.T, dim=-1)
    expected = expected[torch.arange(2000), ids]
    assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), weight)
    (exact,) = torch.autograd.grad(expected.sum(), rounded)
    assert gradient.dtype == torch.float32
    assert (gradient - exact).norm() < 2e-3 * exact.norm()


def test_logits_of_bfloat16_operands_are_not_rounded() -> None:
    """bfloat16 numbers near 25 are 0.125 apart."""
    torch.manual_seed(0)
    states, weight = torch.randn(50, 64), torch.randn(40, 64)
    weight[0] = 25 / 64 * states.sign()[0]  # a logit of about 20
    exact = states.bfloat16().double() @ weight.bfloat16().double().T
    for token in (0, 1, 39):
        ids = torch.full((50,), token)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, _ = token_logprobs(states, weight, None, ids, torch.ones(50))
        assert_close(found.double(), exact.log_softmax(dim=-1)[:, token], rtol=1e-4, atol=1e-5)


def test_a_head_in_half_precision_is_normalised_in_float32() -> None:
    states, weight = torch.randn(5, 8).bfloat16(), torch.randn(64, 8).bfloat16()
    ids = torch.randint(64, (5,))
    logprobs, _ = token_logprobs(states, weight, None, ids, torch.ones(5))
    expected = torch.log_softmax(states.float() @ weight.T.float(), dim=-1)[torch.arange(5), ids]
    assert logprobs.dtype == torch.float32
    assert_close(logprobs, expected)


@pytest.mark.parametrize("kind", ["rows", "trees"])
def test_memory_grows_with_tokens_but_not_with_tokens_times_vocabulary(
    policy: Policy, monkeypatch: Any, kind: str
) -> None:
    vocabulary = policy.model.config.vocab_size
    chunks_of(monkeypatch, 8 * vocabulary)

    def step(length: int) -> Callable[[], None]:
        packed = one_pack([Sequence([1, 2, 3], [i] * length) for i in range(4)], kind)

        def work() -> None:
            completion_logprobs(policy.model, packed, temperature=1.0)[0].sum().backward()

        return work

    step(1)()  # from here on the gradients exist
    small, large = peak(step(10)), peak(step(60))
    logits = 4 * vocabulary  # bytes of one token's
    added = 4 * (60 - 10)
    assert large - small < added * logits / 4
    assert large < 8 * logits * 8 + 3 * 4 * policy.model.get_output_embeddings().weight.numel() + small
    chunks_of(monkeypatch, 10_000 * vocabulary)  # the contrast: all logits at once
    assert peak(step(60)) - small > added * logits
