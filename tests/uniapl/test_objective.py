"""The objective against numbers derived by hand, and against a naive float64 loop."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from uniapl.advantages import group_advantages
from uniapl.adversarial import coefficients, leave_one_out
from uniapl.batch import Counts, MicroBatch, Sequence, collate, micro_batches
from uniapl.objective import adv_loss, clipped_surrogate, grpo_loss, sft_loss, unified_terms

CPU = torch.device("cpu")


def test_surrogate_clips_gains_but_never_penalties() -> None:
    # r = 2 on both. w = +1: min(2, 1.2) = 1.2. w = -1: min(-2, -1.2) = -2.
    surrogate = clipped_surrogate(
        torch.tensor([[2.0], [2.0]]).log(),
        torch.zeros(2, 1),
        torch.tensor([1.0, -1.0]),
        torch.ones(2, 1, dtype=torch.bool),
        clip_low=0.2,
        clip_high=0.2,
    )
    assert_close(surrogate, torch.tensor([[1.2], [-2.0]]))


def test_surrogate_has_two_bounds() -> None:
    # w = -1, r = 0.5: max of the penalty at the bound 1 - 0.1 = 0.9: min(-0.5, -0.9) = -0.9.
    # w = +1, r = 2, bound 1 + 0.28: 1.28.
    surrogate = clipped_surrogate(
        torch.tensor([[0.5], [2.0]]).log(),
        torch.zeros(2, 1),
        torch.tensor([-1.0, 1.0]),
        torch.ones(2, 1, dtype=torch.bool),
        clip_low=0.1,
        clip_high=0.28,
    )
    assert_close(surrogate, torch.tensor([[-0.9], [1.28]]))


def test_padding_never_matters_even_when_it_is_infinite() -> None:
    logprobs = torch.tensor([[-1.0, -math.inf]], requires_grad=True)
    mask = torch.tensor([[True, False]])
    surrogate = clipped_surrogate(
        logprobs, torch.tensor([[-1.0, -math.inf]]), torch.tensor([1.0]), mask, clip_low=0.2, clip_high=0.2
    )
    surrogate.sum().backward()
    assert_close(surrogate, torch.tensor([[1.0, 0.0]]))
    assert logprobs.grad is not None
    assert_close(logprobs.grad, torch.tensor([[1.0, 0.0]]))


def test_sft_is_the_mean_over_the_teachers_tokens() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, -9.0], [-3.0, -9.0, -9.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert_close(sft_loss(logprobs, mask, num_tokens=3), torch.tensor(2.0))  # (1 + 2 + 3) / 3


def test_grpo_divides_by_tokens_and_adv_by_rollouts() -> None:
    surrogate = torch.tensor([[1.0, 1.0, 1.0], [-1.0, 0.0, 0.0]])
    assert_close(grpo_loss(surrogate, num_tokens=4), torch.tensor(-0.5))
    assert_close(adv_loss(surrogate, num_rollouts=2), torch.tensor(-1.0))


def test_on_policy_the_adversarial_gradient_is_the_score_function_estimate() -> None:
    logprobs = torch.randn(3, 5, requires_grad=True)
    coef = torch.tensor([1.0, -2.0, 0.5])
    surrogate = clipped_surrogate(
        logprobs, logprobs.detach(), coef, torch.ones(3, 5, dtype=torch.bool), clip_low=0.2, clip_high=0.2
    )
    adv_loss(surrogate, num_rollouts=3).backward()
    assert_close(logprobs.grad, (-coef / 3)[:, None].expand(3, 5))  # d/dlogpi of -1/N sum c logpi


def test_no_gradient_reaches_the_coefficient() -> None:
    scores = torch.randn(2, 4, requires_grad=True)
    logprobs = torch.randn(8, 3, requires_grad=True)
    coef = coefficients(scores, scale=2.0, clip=None).flatten()
    mask = torch.ones(8, 3, dtype=torch.bool)
    surrogate = clipped_surrogate(logprobs, logprobs.detach(), coef, mask, clip_low=0.2, clip_high=0.2)
    surrogate.sum().backward()
    assert scores.grad is None
    # and the surrogate itself lets none through, whoever hands it weights that carry one
    weights = torch.ones(8, requires_grad=True)
    clipped_surrogate(logprobs, logprobs.detach(), weights, mask, clip_low=0.2, clip_high=0.2).sum().backward()
    assert weights.grad is None


def test_leave_one_out_compares_each_score_with_its_siblings() -> None:
    assert_close(leave_one_out(torch.tensor([[1.0, 2.0, 6.0]])), torch.tensor([[-3.0, -1.5, 4.5]]))


def test_identical_scores_give_no_adversarial_signal() -> None:
    assert_close(coefficients(torch.full((2, 4), -7.3), scale=10.0, clip=10.0), torch.zeros(2, 4))


def test_adding_a_constant_to_every_score_changes_nothing() -> None:
    scores = torch.randn(3, 5, dtype=torch.float64)
    kept = coefficients(scores, scale=3.0, clip=10.0)
    assert_close(coefficients(scores - 8.25, scale=3.0, clip=10.0), kept)


def test_score_spikes_are_bounded() -> None:
    coef = coefficients(torch.tensor([[0.0, 0.0, 1e6]]), scale=1.0, clip=10.0)
    assert coef.abs().max() == 10.0


def test_advantages_are_centred_and_scaled_within_the_group() -> None:
    rewards = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    # std (unbiased) of (0, 1) is sqrt(1/2); the second group has no variance and no signal
    expected = torch.tensor([[-0.5, 0.5], [0.0, 0.0]]) / (math.sqrt(0.5) + 1e-4)
    assert_close(group_advantages(rewards, scale=True), expected)
    assert_close(group_advantages(rewards, scale=False), torch.tensor([[-0.5, 0.5], [0.0, 0.0]]))


def test_equal_rewards_give_no_signal_whatever_their_number() -> None:
    for size in range(2, 12):
        advantages = group_advantages(torch.full((1, size), 2 / 3), scale=True)
        assert advantages.abs().max() < 1e-9


def make_sequences(seed: int, vocabulary: int = 11) -> list[Sequence]:
    """Demonstrations and rollouts of random lengths, some outside a term."""
    draw = random.Random(seed)

    def ids(low: int, high: int) -> list[int]:
        return [draw.randrange(1, vocabulary) for _ in range(draw.randint(low, high))]

    sequences = [Sequence(ids(1, 6), ids(1, 7), demonstration=True) for _ in range(3)]
    for i in range(6):
        completion = ids(1, 7)
        sequences.append(
            Sequence(
                ids(1, 6),
                completion,
                advantage=draw.gauss(0, 1) if i != 1 else None,
                coef=draw.gauss(0, 2) if i != 2 else None,
                old_logprobs=[-draw.random() * 3 for _ in completion],
            )
        )
    return sequences


class Bigram(torch.nn.Module):
    """The smallest policy with a gradient: the next token depends on the last."""

    def __init__(self, vocabulary: int = 11) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = torch.nn.Parameter(torch.randn(vocabulary, vocabulary, dtype=torch.float64, generator=generator))

    def logprobs(self, batch: MicroBatch) -> Tensor:
        """(B, C)"""
        rows = torch.log_softmax(self.table, dim=-1)
        before = torch.stack(
            [
                torch.cat([ids[length - 1 : length], completion[:-1]])
                for ids, length, completion in zip(
                    batch.input_ids, batch.prompt_lengths, batch.completion_ids, strict=True
                )
            ]
        )
        return rows[before, batch.completion_ids]


def naive_loss(model: Bigram, sequences: list[Sequence], alpha: float, lambda_adv: float) -> Tensor:
    """The formula of docs/method.md, one token at a time."""
    rows = torch.log_softmax(model.table, dim=-1)
    counts = Counts.of(sequences)
    loss = torch.zeros((), dtype=torch.float64)
    for s in sequences:
        previous = s.prompt_ids[-1]
        for t, token in enumerate(s.completion_ids):
            logprob = rows[previous, token]
            previous = token
            if s.demonstration:
                loss = loss - alpha * logprob / counts.sft_tokens
            for weight, factor in (
                (s.advantage, (1 - alpha) / max(counts.grpo_tokens, 1)),
                (s.coef, lambda_adv / max(counts.adv_rollouts, 1)),
            ):
                if weight is not None and s.old_logprobs is not None:
                    ratio = (logprob - s.old_logprobs[t]).exp()
                    bounded = ratio.clamp(0.8, 1.2)
                    loss = loss - factor * torch.minimum(ratio * weight, bounded * weight)
    return loss


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("lambda_adv", [0.0, 0.05])
@pytest.mark.parametrize("max_tokens", [1, 20, 1000])
def test_gradient_is_the_naive_loops_however_the_step_is_cut(alpha: float, lambda_adv: float, max_tokens: int) -> None:
    if alpha == 1.0 and lambda_adv == 0.0:
        sequences = [s for s in make_sequences(7) if s.demonstration]
    else:
        sequences = make_sequences(7)
    expected = Bigram()
    naive_loss(expected, sequences, alpha, lambda_adv).backward()

    model = Bigram()
    counts = Counts.of(sequences)
    for batch in micro_batches(sequences, max_tokens, pad_id=0, device=CPU):
        terms = unified_terms(model.logprobs(batch), batch, counts, clip_low=0.2, clip_high=0.2)
        torch.stack(list(terms.weighted(alpha, lambda_adv).values())).sum().backward()

    assert expected.table.grad is not None
    assert expected.table.grad.abs().max() > 1e-4
    # weights pass through float32 tensors, hence not 1e-15
    assert_close(model.table.grad, expected.table.grad, rtol=1e-6, atol=1e-8)


def test_counts_cover_the_whole_step_and_each_term_its_own_rows() -> None:
    sequences = make_sequences(3)
    counts = Counts.of(sequences)
    assert counts.sft_tokens == sum(len(s.completion_ids) for s in sequences[:3])
    assert counts.grpo_tokens == sum(len(s.completion_ids) for i, s in enumerate(sequences[3:]) if i != 1)
    assert counts.adv_rollouts == 5


def test_micro_batches_hold_every_sequence_once_within_the_budget() -> None:
    sequences = make_sequences(5)
    batches = list(micro_batches(sequences, 24, pad_id=0, device=CPU))
    assert sum(len(b.input_ids) for b in batches) == len(sequences)
    assert all(b.input_ids.numel() <= 24 or len(b.input_ids) == 1 for b in batches)


def test_collate_masks_prompt_and_padding() -> None:
    batch = collate(
        [Sequence([1, 2, 3], [4], demonstration=True), Sequence([5], [6, 7], advantage=1.0, old_logprobs=[-1.0, -2.0])],
        pad_id=0,
        device=CPU,
    )
    assert batch.input_ids.tolist() == [[1, 2, 3, 4], [5, 6, 7, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch.completion_ids.tolist() == [[4, 0], [6, 7]]
    assert batch.completion_mask.tolist() == [[True, False], [True, True]]
    assert batch.demonstration.tolist() == [True, False]
    assert batch.explored.tolist() == [False, True]
    assert batch.compared.tolist() == [False, False]
