"""The objective against numbers derived by hand, and against a naive float64 loop."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from uniapl.advantages import group_advantages
from uniapl.adversarial import coefficients, leave_one_out
from uniapl.batch import Counts, MicroBatch, Sequence, collate, micro_batches
from uniapl.objective import clipped_surrogate, sft_loss, unified_terms
from uniapl.spec.job import Adversarial, JobSpec

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


def test_on_policy_the_adversarial_gradient_is_the_score_function_estimate() -> None:
    logprobs = torch.randn(3, 5, requires_grad=True)
    coef = torch.tensor([1.0, -2.0, 0.5])
    surrogate = clipped_surrogate(
        logprobs, logprobs.detach(), coef, torch.ones(3, 5, dtype=torch.bool), clip_low=0.2, clip_high=0.2
    )
    (-surrogate.sum() / 3).backward()
    assert_close(logprobs.grad, (-coef / 3)[:, None].expand(3, 5))  # d/dlogpi of -1/N sum c logpi


@pytest.mark.parametrize("form", ["loo", "raw", "group_whiten"])
def test_no_gradient_reaches_the_coefficient(form: Literal["loo", "raw", "group_whiten"]) -> None:
    scores = torch.randn(2, 4, requires_grad=True)
    logprobs = torch.randn(8, 3, requires_grad=True)
    coef = coefficients(scores, scale=2.0, options=Adversarial(coef_clip=None, coef=form)).flatten()
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
    assert_close(coefficients(torch.full((2, 4), -7.3), scale=10.0, options=Adversarial()), torch.zeros(2, 4))


def test_adding_a_constant_to_every_score_changes_nothing() -> None:
    scores = torch.randn(3, 5, dtype=torch.float64)
    kept = coefficients(scores, scale=3.0, options=Adversarial())
    assert_close(coefficients(scores - 8.25, scale=3.0, options=Adversarial()), kept)


def test_score_spikes_are_bounded() -> None:
    coef = coefficients(torch.tensor([[0.0, 0.0, 1e6]]), scale=1.0, options=Adversarial())
    assert coef.abs().max() == 10.0


def test_raw_coefficients_are_the_scaled_scores_and_whitened_ones_have_unit_spread() -> None:
    scores = torch.tensor([[-1.0, -2.0, -6.0]])
    assert_close(coefficients(scores, scale=2.0, options=Adversarial(coef="raw", coef_clip=None)), 2 * scores)
    # centred: 2, 1, -3; unbiased std sqrt((4 + 1 + 9) / 2) = sqrt(7)
    expected = torch.tensor([[2.0, 1.0, -3.0]]) / (math.sqrt(7) + 1e-4)
    assert_close(coefficients(scores, scale=1.0, options=Adversarial(coef="group_whiten")), expected)
    assert_close(
        coefficients(torch.full((1, 3), 5.0), scale=1.0, options=Adversarial(coef="group_whiten")), torch.zeros(1, 3)
    )


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


def make_sequences(seed: int, vocabulary: int = 11) -> list[Sequence]:
    """Demonstrations and rollouts of random lengths, some outside a term, sampled by a policy near `Bigram`'s."""
    draw = random.Random(seed)
    rows = torch.log_softmax(Bigram(vocabulary).table, dim=-1).tolist()

    def ids(low: int, high: int) -> list[int]:
        return [draw.randrange(1, vocabulary) for _ in range(draw.randint(low, high))]

    sequences = [Sequence(ids(1, 6), ids(1, 7), demonstration=True) for _ in range(3)]
    for i in range(6):
        prompt, completion = ids(1, 6), ids(1, 7)
        before = [prompt[-1], *completion]
        sequences.append(
            Sequence(
                prompt,
                completion,
                advantage=draw.gauss(0, 1) if i != 1 else None,
                coef=draw.gauss(0, 2) if i != 2 else None,
                old_logprobs=[rows[a][b] + draw.gauss(0, 0.2) for a, b in zip(before, completion, strict=False)],
            )
        )
    return sequences


def naive_loss(model: Bigram, sequences: list[Sequence], spec: JobSpec) -> Tensor:
    """The formulas of docs/method.md, one rollout and one token at a time."""
    rows = torch.log_softmax(model.table, dim=-1)
    taught = sum(len(s.completion_ids) for s in sequences if s.demonstration)
    explored = [len(s.completion_ids) for s in sequences if s.advantage is not None]
    compared = [len(s.completion_ids) for s in sequences if s.coef is not None]
    longest = spec.rollout.max_new_tokens
    loss = torch.zeros((), dtype=torch.float64)
    for s in sequences:
        pairs = zip([s.prompt_ids[-1], *s.completion_ids], s.completion_ids, strict=False)
        logprobs = [rows[before, token] for before, token in pairs]
        length = len(logprobs)
        if s.demonstration:
            loss = loss - spec.alpha * sum(logprobs) / taught
        if s.advantage is not None and s.old_logprobs is not None:
            low, high = 1 - spec.grpo.clip_low, 1 + spec.grpo.clip_high
            ratios = [(new - old).exp() for new, old in zip(logprobs, s.old_logprobs, strict=True)]
            if spec.grpo.loss == "gspo":
                ratios = [torch.stack(ratios).log().mean().exp()]
            gain = sum(torch.minimum(r * s.advantage, r.clamp(low, high) * s.advantage) for r in ratios)
            divisor = {
                "dapo": sum(explored),
                "grpo": len(explored) * length,
                "dr_grpo": len(explored) * longest,
                "gspo": len(explored),
            }[spec.grpo.loss]
            loss = loss - (1 - spec.alpha) * gain / divisor
        if s.coef is not None and s.old_logprobs is not None:
            low, high = 1 - spec.adversarial.clip_low, 1 + spec.adversarial.clip_high
            if spec.adversarial.surrogate == "reinforce":
                gain = s.coef * sum(logprobs)
            else:
                ratios = [(new - old).exp() for new, old in zip(logprobs, s.old_logprobs, strict=True)]
                gain = sum(torch.minimum(r * s.coef, r.clamp(low, high) * s.coef) for r in ratios)
            divisor = {
                "seq_sum": len(compared),
                "seq_mean": len(compared) * length,
                "token_mean": sum(compared),
                "sum_over_const": len(compared) * longest,
            }[spec.adversarial.aggregate]
            loss = loss - spec.lambda_adv * gain / divisor
    return loss


def objective(alpha: float = 0.3, lambda_adv: float = 0.05, **blocks: Any) -> JobSpec:
    fields = {"alpha": alpha, "lambda_adv": lambda_adv, "rollout": {"max_new_tokens": 64}, **blocks}
    return JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], **fields})


OBJECTIVES = [
    *(objective(alpha, lambda_adv) for alpha in (0.0, 0.3, 1.0) for lambda_adv in (0.0, 0.05)),
    objective(grpo={"clip_low": 0.1, "clip_high": 0.28}),
    objective(grpo={"loss": "grpo"}),
    objective(grpo={"loss": "dr_grpo", "scale_rewards": False}),
    objective(grpo={"loss": "gspo", "clip_low": 0.01, "clip_high": 0.02}),
    objective(adversarial={"surrogate": "reinforce"}),
    objective(adversarial={"aggregate": "seq_mean"}),
    objective(adversarial={"aggregate": "token_mean", "clip_low": 0.05, "clip_high": 0.5}),
    objective(adversarial={"aggregate": "sum_over_const", "surrogate": "reinforce"}),
]


@pytest.mark.parametrize(
    "spec", OBJECTIVES, ids=lambda s: f"{s.alpha}-{s.lambda_adv}-{s.grpo.loss}-{s.adversarial.aggregate}"
)
@pytest.mark.parametrize("max_tokens", [1, 20, 1000])
def test_gradient_is_the_naive_loops_however_the_step_is_cut(spec: JobSpec, max_tokens: int) -> None:
    sequences = make_sequences(7)
    if not spec.uses_rollouts:
        sequences = [s for s in sequences if s.demonstration]
    expected = Bigram()
    naive_loss(expected, sequences, spec).backward()

    model = Bigram()
    counts = Counts.of(sequences)
    for batch in micro_batches(sequences, max_tokens, pad_id=0, device=CPU):
        terms = unified_terms(model.logprobs(batch), batch, counts, spec)
        torch.stack(list(terms.weighted(spec.alpha, spec.lambda_adv).values())).sum().backward()

    assert expected.table.grad is not None
    assert expected.table.grad.abs().max() > 1e-4
    # weights pass through float32 tensors, hence not 1e-15
    assert_close(model.table.grad, expected.table.grad, rtol=1e-6, atol=1e-8)


def test_every_option_changes_the_gradient() -> None:
    gradients = []
    for spec in (objective(), *OBJECTIVES[6:]):
        model = Bigram()
        naive_loss(model, make_sequences(7), spec).backward()
        assert model.table.grad is not None
        gradients.append(model.table.grad)
    for a, b in itertools.combinations(gradients, 2):
        assert (a - b).abs().max() > 1e-6


def test_counts_cover_the_whole_step_and_each_term_its_own_rows() -> None:
    sequences = make_sequences(3)
    counts = Counts.of(sequences)
    assert counts.sft_tokens == sum(len(s.completion_ids) for s in sequences[:3])
    assert counts.grpo_tokens == sum(len(s.completion_ids) for i, s in enumerate(sequences[3:]) if i != 1)
    assert counts.grpo_rollouts == 5
    assert counts.adv_tokens == sum(len(s.completion_ids) for i, s in enumerate(sequences[3:]) if i != 2)
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
