"""Packed batches against the plain forward and against a float64 loop over single sequences."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.uniapl.packed import ALIKE, PROMPT, VOCABULARY, objective, one_pack, tiny, trained
from uniapl.batching.batch import Counts, Sequence
from uniapl.batching.packed import can_attend, pack
from uniapl.batching.packing import BLOCK, Layout
from uniapl.model.attention import block_mask
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.policy import Policy, Reference
from uniapl.objective.losses import unified_terms
from uniapl.spec.job import JobSpec
from uniapl.training.learner import Learner

pytestmark = pytest.mark.integration

CPU = torch.device("cpu")
KINDS = ["plain", "rows", "trees"]


POLICIES = {lora: tiny(lora=lora) for lora in (False, True)}


@st.composite
def steps(draw: Any) -> list[Sequence]:
    """Groups of rollouts, with or without the teacher's answer, and single answers.

    Prompts are what a limit leaves of longer ones, their end; completions what a limit leaves, their beginning.
    """
    source = random.Random(draw(st.integers(0, 2**16)))

    def ids(low: int, high: int) -> list[int]:
        return [source.randrange(VOCABULARY) for _ in range(draw(st.integers(low, high)))]

    def number(mean: float, spread: float) -> float:
        return round(source.gauss(mean, spread) * 64) / 64  # which float32 holds exactly, as the batch's tensors are

    longest_prompt, longest_completion = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    sequences = []
    for _ in range(draw(st.integers(1, 3))):
        prompt = ids(1, 12)[-longest_prompt:]
        for _ in range(draw(st.integers(0, 4))):
            completion = ids(1, 12)[:longest_completion]
            sequences.append(
                Sequence(
                    prompt,
                    completion,
                    advantage=draw(st.sampled_from([None, 0.0, number(0, 1)])),
                    coef=draw(st.sampled_from([None, 0.0, number(0, 1)])),
                    old_logprobs=[number(-3, 0.5) for _ in completion],
                )
            )
        if draw(st.booleans()):
            sequences.append(Sequence(prompt, ids(1, 12)[:longest_completion], demonstration=True))
    return sequences or [Sequence([1], [2], demonstration=True)]


def naive_gradient(policy: Policy, sequences: list[Sequence]) -> tuple[Tensor, list[Tensor]]:
    """The unified loss of `objective()`, each sequence forwarded alone, and its gradient."""
    taught = sum(len(s.completion_ids) for s in sequences if s.demonstration)
    explored = sum(len(s.completion_ids) for s in sequences if s.advantage is not None)
    compared = sum(s.coef is not None for s in sequences)
    loss = torch.zeros((), dtype=torch.float64)
    for s in sequences:
        logits = policy.model(torch.tensor([s.prompt_ids + s.completion_ids])).logits[0]
        logits = logits / (1.0 if s.old_logprobs is None else 0.5)
        before = len(s.prompt_ids) - 1
        for c, token in enumerate(s.completion_ids):
            logprob = logits[before + c, token] - logits[before + c].logsumexp(0)
            if s.demonstration:
                loss = loss - 0.3 * logprob / taught
            if s.old_logprobs is not None:
                ratio = (logprob - s.old_logprobs[c]).exp()
                for weight, share in ((s.advantage, 0.7 / max(explored, 1)), (s.coef, 0.05 / max(compared, 1))):
                    if weight is not None:
                        loss = loss - share * torch.minimum(ratio * weight, ratio.clamp(0.8, 1.2) * weight)
    gradient = torch.autograd.grad(loss, trained(policy), allow_unused=True) if loss.requires_grad else ()
    return loss.detach(), [torch.zeros_like(p) for p in trained(policy)] if not gradient else list(gradient)


def packed_gradient(policy: Policy, sequences: list[Sequence], budget: int) -> tuple[Tensor, list[Tensor]]:
    """The same gradient through packed batches and the objective."""
    spec, counts = objective(), Counts.of(sequences)
    gradient = [torch.zeros_like(p) for p in trained(policy)]
    total = torch.zeros((), dtype=torch.float64)
    for packed in pack(sequences, budget, policy.pad_id, CPU, policy.layout):
        temperature = torch.where(packed.batch.sampled, 0.5, 1.0)
        logprobs, _ = completion_logprobs(policy.model, packed, temperature=temperature)
        terms = unified_terms(logprobs, packed.batch, counts, spec)
        loss = torch.stack(list(terms.weighted(spec.weights_at(0)).values())).sum()
        total += loss.detach()
        for sum_, g in zip(gradient, torch.autograd.grad(loss, trained(policy)), strict=True):
            sum_ += g
    return total, gradient


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(sequences=steps(), budget=st.integers(1, 150))
def test_packed_batches_give_the_loss_and_gradient_of_single_sequences(
    kind: Any, lora: bool, sequences: list[Sequence], budget: int
) -> None:
    policy = replace(POLICIES[lora], layout=Layout(kind))
    expected, wanted = naive_gradient(policy, sequences)
    loss, gradient = packed_gradient(policy, sequences, budget)
    assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    assert_close(gradient, wanted, rtol=1e-10, atol=1e-12)


def test_trees_in_one_row_do_not_attend_to_each_other() -> None:
    sequences = [Sequence([1] * p, [2] * c, demonstration=True) for p, c in ((9, 11), (5, 7), (4, 4))]
    (packed,) = pack(sequences, 40, 0, CPU, Layout("trees"))
    assert packed.tree.amax(dim=1).tolist() == [2]
    loss, gradient = packed_gradient(POLICIES[False], sequences, 40)
    expected, wanted = naive_gradient(POLICIES[False], sequences)
    assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    assert_close(gradient, wanted, rtol=1e-10, atol=1e-12)


@settings(max_examples=100)
@given(sequences=steps(), budget=st.integers(1, 300), kind=st.sampled_from([*KINDS, "blocks"]))
def test_every_sequence_is_in_one_batch_within_the_budget(sequences: list[Sequence], budget: int, kind: Any) -> None:
    found: list[tuple[list[int], float]] = []
    for packed in pack(sequences, budget, 0, CPU, Layout(kind)):
        R, W = packed.input_ids.shape
        useful = int((packed.tree >= 0).sum())
        lone = R == 1 and len(packed.batch.coef) == 1
        allowed = max(budget, BLOCK) if kind == "blocks" else budget
        assert lone or allowed >= R * W
        assert 2 * useful >= R * W or kind == "blocks"  # rows are dense
        assert useful == R * W or kind != "trees"
        for ids, mask, coef in zip(
            packed.batch.completion_ids, packed.batch.completion_mask, packed.batch.coef.tolist(), strict=True
        ):
            found.append((ids[mask].tolist(), coef))
    expected = [(s.completion_ids, pytest.approx(s.coef or 0.0)) for s in sequences]
    assert sorted(found) == sorted(expected, key=lambda pair: (pair[0], pair[1].expected))


def test_a_packed_batch_holds_the_prompt_once_and_branches_continue_at_its_end() -> None:
    group = [Sequence([5, 6, 7], [8, 9]), Sequence([5, 6, 7], [10]), Sequence([5, 6, 7], [11, 12, 13])]
    packed = one_pack(group)
    assert packed.input_ids.tolist()[0] == [5, 6, 7, 11, 12, 13, 8, 9, 10]
    assert packed.position_ids.tolist()[0] == [0, 1, 2, 3, 4, 5, 3, 4, 3]
    assert packed.predictors.tolist() == [[2, 3, 4], [2, 6, 0], [2, 0, 0]]
    seen = can_attend(packed.tree, packed.branch, torch.tensor(0), torch.arange(9)[:, None], torch.arange(9))
    assert seen[7].nonzero().flatten().tolist() == [0, 1, 2, 6, 7]  # the 9 of the second branch


class Tokens:
    """Counts the tokens that a model processes."""

    def __init__(self, policy: Policy) -> None:
        self.seen = 0
        policy.model.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.seen += inputs[0].numel()


def update(
    sequences: list[Sequence],
    spec: JobSpec,
    *,
    everything: bool = False,
    measure: bool = False,
) -> tuple[list[Tensor], dict[str, float], int]:
    """The gradient of one update, its metrics, and the number of tokens that the model processed."""
    policy = tiny()
    wrap_blocks(policy.model, spec.resources)
    frozen = tiny().model
    for parameter in frozen.parameters():
        parameter.requires_grad_(False).mul_(1.1)
    learner = Learner(policy, spec, Reference(frozen, adapted=False) if spec.grpo.kl_coef else None)
    gradients: list[Tensor] = []
    learner.optimizer.register_step_pre_hook(
        lambda *_: gradients.extend(p.grad.clone() for p in trained(policy) if p.grad is not None)
    )
    tokens = Tokens(policy)
    with pytest.MonkeyPatch.context() as patched:
        if everything:
            patched.setattr(Sequence, "has_loss_weight", lambda *_, **__: True)
        metrics = learner.update(sequences, 0, measure_terms=measure)
    return gradients, metrics, tokens.seen


@pytest.mark.parametrize(("alpha", "kl_coef"), [(0.0, 0.0), (0.3, 0.0), (1.0, 0.0), (0.0, 0.2), (0.3, 0.2)])
@settings(max_examples=5)
@given(sequences=steps(), adv=st.sampled_from([0.0, 0.05]), measure=st.booleans())
def test_rows_without_weight_change_nothing_and_are_not_forwarded(
    alpha: float, kl_coef: float, sequences: list[Sequence], adv: float, measure: bool
) -> None:
    spec = objective(alpha=alpha, lambda_adv=adv, grpo={"kl_coef": kl_coef})
    kept, metrics, seen = update(sequences, spec, measure=measure)
    everything, expected, all_seen = update(sequences, spec, everything=True, measure=measure)
    assert len(kept) in (0, len(everything))
    assert_close(kept or [torch.zeros_like(g) for g in everything], everything, rtol=1e-9, atol=1e-12)
    assert metrics["loss"] == pytest.approx(expected["loss"], rel=1e-9, abs=1e-12)
    assert seen <= all_seen
    assert seen == metrics["perf/forward_tokens"]


def test_a_group_without_variance_is_not_forwarded_unless_another_term_has_weight() -> None:
    assert update(ALIKE, objective())[2] == 0
    assert update([replace(ALIKE[0], coef=0.5), *ALIKE[1:]], objective())[2] == 5
    assert update([replace(ALIKE[0], coef=0.5), *ALIKE[1:]], objective(lambda_adv=0.0))[2] == 0
    assert update(ALIKE, objective(grpo={"kl_coef": 0.1}))[2] == 11
    assert update([Sequence(PROMPT, [7], demonstration=True)], objective(alpha=0.0))[2] == 0


def test_a_step_without_weight_still_decays_the_moments_and_reports_the_entropy() -> None:
    gradients, metrics, _ = update(ALIKE, objective(), measure=True)
    assert gradients
    assert not any(g.any() for g in gradients)
    assert metrics["entropy"] == 1.5  # minus the mean of the sampled tokens' log-probabilities
    assert metrics["uniapl/grad_norm_grpo"] == 0
    assert "clip_ratio/region_mean" not in metrics


def test_the_block_mask_covers_the_prompt_and_the_branch() -> None:
    group = [Sequence([5, 6, 7], [8, 9]), Sequence([5, 6, 7], [10]), Sequence([1], [2, 3])]
    packed = one_pack(group, "blocks")
    assert packed.input_ids.shape == (1, 128)
    assert packed.input_ids[0, :9].tolist() == [5, 6, 7, 8, 9, 10, 1, 2, 3]
    sees = {
        **{query: [*range(query + 1)] for query in range(5)},
        5: [0, 1, 2, 5],
        **{query: [*range(6, query + 1)] for query in (6, 7, 8)},
    }
    query, key = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    seen = block_mask(packed).mask_mod(torch.zeros_like(key), torch.zeros_like(key), query, key)
    assert {query: seen[query].nonzero().flatten().tolist() for query in range(9)} == sees


@st.composite
def long_steps(draw: Any) -> list[Sequence]:
    """Prompts and branches of lengths around those of tiles."""
    length = st.one_of(st.integers(1, 40), st.sampled_from([BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK]))
    return [
        Sequence([token] * draw(length), [token] * n, demonstration=True)
        for token in range(1, draw(st.integers(2, 4)))
        for n in draw(st.lists(length, min_size=1, max_size=4))
    ]


@settings(max_examples=50)
@given(sequences=long_steps())
def test_no_tile_with_an_unmasked_pair_is_skipped_and_whole_tiles_have_no_masked_pair(
    sequences: list[Sequence],
) -> None:
    packed = one_pack(sequences, "blocks")
    W = packed.input_ids.shape[1]
    token = torch.arange(W)
    seen = can_attend(packed.tree, packed.branch, torch.tensor(0), token[:, None], token)
    by_tile = seen.unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK)).transpose(1, 2).flatten(2)  # (n, n, tokens)
    found = block_mask(packed)
    computed, whole = found.to_dense()[0, 0].bool(), dense(found.full_kv_num_blocks, found.full_kv_indices)
    assert not (by_tile.any(dim=2) & ~computed).any()
    assert by_tile[whole].all()


def dense(numbers: Any, indices: Any) -> Tensor:
    """Which tiles a block mask lists: (n, n)."""
    found = torch.zeros(indices.shape[-2:], dtype=torch.bool)
    for query, (number, keys) in enumerate(zip(numbers[0, 0].tolist(), indices[0, 0].tolist(), strict=True)):
        found[query, keys[:number]] = True
    return found


def test_tiles_of_other_branches_and_trees_are_skipped_and_whole_ones_need_no_mask() -> None:
    group = [Sequence([1] * BLOCK * 2, [n] * BLOCK, demonstration=True) for n in (2, 3)]
    packed = one_pack([*group, Sequence([4] * BLOCK, [5] * (BLOCK - 1), demonstration=True)], "blocks")  # and padding
    found = block_mask(packed)
    by_hand = """
        o . . . . .
        x o . . . .
        x x o . . .
        x x . o . .
        . . . . o .
        . . . . o o
    """
    rows = [line.split() for line in by_hand.strip().splitlines()]
    assert found.to_dense()[0, 0].tolist() == [[int(c != ".") for c in row] for row in rows]
    whole = dense(found.full_kv_num_blocks, found.full_kv_indices)
    assert whole.int().tolist() == [[int(c == "x") for c in row] for row in rows]
