"""The objective against numbers derived by hand, and against a naive float64 loop."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.uniapl.packed import one_pack
from uniapl.batching.batch import Counts, Sequence, collate
from uniapl.batching.packed import PackedBatch, pack
from uniapl.batching.packing import Layout
from uniapl.objective.losses import clipped_surrogate, kl_penalty, sft_loss, unified_terms
from uniapl.spec.job import JobSpec
from uniapl.spec.objective import Sft
from uniapl.spec.weights import format_weight

pytestmark = pytest.mark.integration

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
    assert_close(sft_loss(logprobs, mask, Sft(), num_tokens=3), torch.tensor(2.0))  # (1 + 2 + 3) / 3


def test_on_policy_the_adversarial_gradient_is_the_score_function_estimate() -> None:
    logprobs = torch.randn(3, 5, requires_grad=True)
    coef = torch.tensor([1.0, -2.0, 0.5])
    surrogate = clipped_surrogate(
        logprobs, logprobs.detach(), coef, torch.ones(3, 5, dtype=torch.bool), clip_low=0.2, clip_high=0.2
    )
    (-surrogate.sum() / 3).backward()
    assert_close(logprobs.grad, (-coef / 3)[:, None].expand(3, 5))  # d/dlogpi of -1/N sum c logpi


class Bigram(torch.nn.Module):
    """The smallest policy with a gradient: the next token depends on the last."""

    def __init__(self, vocabulary: int = 11, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.nn.Parameter(torch.randn(vocabulary, vocabulary, dtype=torch.float64, generator=generator))

    def logprobs(self, packed: PackedBatch) -> Tensor:
        """(B, C)"""
        rows = torch.log_softmax(self.table, dim=-1)
        return rows[packed.input_ids.flatten()[packed.predictors], packed.batch.completion_ids]


def make_sequences(seed: int, vocabulary: int = 11, *, weighted_teacher: bool = False) -> list[Sequence]:
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
    if weighted_teacher:
        sequences = [replace(s, coef=None) for s in sequences]
        sequences += [Sequence(ids(1, 6), ids(1, 7), coef=draw.random()) for _ in range(3)]
    return sequences


REFERENCE = Bigram(seed=1)


def naive_loss(model: Bigram, sequences: list[Sequence], spec: JobSpec) -> Tensor:
    """The formulas of docs/method.md, one rollout and one token at a time."""
    rows, reference_rows = (torch.log_softmax(m.table, dim=-1) for m in (model, REFERENCE))
    weights = spec.weights_at(0)
    taught = sum(len(s.completion_ids) for s in sequences if s.demonstration)
    explored = [len(s.completion_ids) for s in sequences if s.advantage is not None]
    compared = [len(s.completion_ids) for s in sequences if s.coef is not None]
    longest = spec.rollout.max_new_tokens
    loss = torch.zeros((), dtype=torch.float64)
    for s in sequences:
        pairs = list(zip([s.prompt_ids[-1], *s.completion_ids], s.completion_ids, strict=False))
        logprobs = [rows[before, token] for before, token in pairs]
        length = len(logprobs)
        if s.demonstration:
            likelihood = sum(logprobs)
            if spec.sft.token_weight == "phi":
                p = [new.detach().exp() for new in logprobs]
                likelihood = sum(q * (1 - q) * new for q, new in zip(p, logprobs, strict=True))
            loss = loss - weights.alpha * likelihood / taught
        if s.advantage is not None and s.old_logprobs is not None:
            low, high = 1 - spec.grpo.clip_low, 1 + spec.grpo.clip_high
            ratios = [(new - old).exp() for new, old in zip(logprobs, s.old_logprobs, strict=True)]
            if spec.grpo.loss == "gspo":
                ratios = [torch.stack(ratios).log().mean().exp()]
            gain = sum(torch.minimum(r * s.advantage, r.clamp(low, high) * s.advantage) for r in ratios)
            deltas = [reference_rows[pair].detach() - new for pair, new in zip(pairs, logprobs, strict=True)]
            kl = sum(d.exp() - d - 1 if spec.grpo.kl_estimator == "k3" else d * d / 2 for d in deltas)
            gain = gain - spec.grpo.kl_coef * (kl / length if spec.grpo.loss == "gspo" else kl)
            divisor = {
                "dapo": sum(explored),
                "grpo": len(explored) * length,
                "dr_grpo": len(explored) * longest,
                "gspo": len(explored),
            }[spec.grpo.loss]
            loss = loss - (1 - weights.alpha) * gain / divisor
        if s.coef is not None:
            low, high = 1 - spec.adversarial.clip_low, 1 + spec.adversarial.clip_high
            if spec.adversarial.surrogate == "reinforce":
                gain = s.coef * sum(logprobs)
            else:
                ratios = [(new - old).exp() for new, old in zip(logprobs, s.old_logprobs or [], strict=True)]
                gain = sum(torch.minimum(r * s.coef, r.clamp(low, high) * s.coef) for r in ratios)
            divisor = {
                "relative": relative_divisor(spec, sequences),
                "seq_sum": len(compared),
                "seq_mean": len(compared) * length,
                "token_mean": sum(compared),
                "sum_over_const": len(compared) * longest,
            }[spec.adversarial.aggregate]
            loss = loss - weights.lambda_adv * gain / divisor
    return loss


def relative_divisor(spec: JobSpec, sequences: list[Sequence]) -> float:
    """The norm of the token weights c_i, divided by 100 times that of L_GRPO's at advantages of 1."""
    compared = [(len(s.completion_ids), s.coef) for s in sequences if s.coef is not None]
    tokens, number = sum(n for n, _ in compared), len(compared)
    unit = {
        "dapo": lambda n: 1 / tokens,
        "grpo": lambda n: 1 / (number * n),
        "dr_grpo": lambda n: 1 / (number * spec.rollout.max_new_tokens),
        "gspo": lambda n: 1 / (number * n),
    }[spec.grpo.loss]
    explored = math.sqrt(sum(unit(n) ** 2 for n, _ in compared for _ in range(n)))
    if spec.adversarial.target == "teacher_response":
        return math.sqrt(tokens) / (100 * explored)
    spread = math.sqrt(sum(c**2 for n, c in compared for _ in range(n)) / tokens)
    return math.sqrt(tokens) * (spread + 1e-4) / (100 * explored)


def objective(alpha: float = 0.3, lambda_adv: float = 0.05, **blocks: Any) -> JobSpec:
    fields = {"alpha": alpha, "lambda_adv": lambda_adv, "rollout": {"max_new_tokens": 64}, **blocks}
    return JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], **fields})


TEACHER_RESPONSE = {"target": "teacher_response", "coef": "sigmoid", "surrogate": "reinforce"}
OBJECTIVES = [
    *(objective(alpha, lambda_adv) for alpha in (0.0, 0.3, 1.0) for lambda_adv in (0.0, 0.05)),
    objective(grpo={"clip_low": 0.1, "clip_high": 0.28}),
    objective(grpo={"loss": "grpo"}),
    objective(grpo={"loss": "dr_grpo", "scale_rewards": False}),
    objective(grpo={"loss": "gspo", "clip_low": 0.01, "clip_high": 0.02}),
    objective(adversarial={"surrogate": "reinforce"}),
    objective(adversarial={"aggregate": "seq_sum"}),
    objective(adversarial={"aggregate": "seq_sum", "surrogate": "reinforce"}),
    objective(adversarial={"aggregate": "seq_mean"}),
    objective(adversarial={"aggregate": "token_mean", "clip_low": 0.05, "clip_high": 0.5}),
    objective(adversarial={"aggregate": "sum_over_const", "surrogate": "reinforce"}),
    objective(sft={"token_weight": "phi"}),
    objective(alpha={"type": "cosine", "start": 0.9, "end": 0.05, "steps": 200}),
    objective(lambda_adv={"type": "warmup", "value": 0.5, "steps": 4}),
    objective(grpo={"kl_coef": 0.3, "kl_estimator": "k1"}),  # its gradient is k2's
    objective(grpo={"kl_coef": 0.4, "kl_estimator": "k2", "loss": "grpo"}),
    objective(grpo={"kl_coef": 0.3, "kl_estimator": "k3"}),
    objective(grpo={"kl_coef": 0.3, "loss": "gspo", "clip_low": 0.01, "clip_high": 0.02}),
    objective(grpo={"kl_coef": 0.3, "loss": "dr_grpo", "scale_rewards": False}),
    objective(adversarial=TEACHER_RESPONSE),
    objective(adversarial={**TEACHER_RESPONSE, "aggregate": "seq_sum"}),
    objective(adversarial={**TEACHER_RESPONSE, "aggregate": "token_mean"}),
]


def sequences_for(spec: JobSpec) -> list[Sequence]:
    """The sequences that the trainer passes to the objective: rollouts only where a term has weight for them."""
    sequences = make_sequences(7, weighted_teacher=spec.adversarial.target == "teacher_response")
    return sequences if spec.uses_rollouts else [s for s in sequences if s.demonstration]


def gradient(spec: JobSpec, sequences: list[Sequence], max_tokens: int = 1000, pad_id: int = 0) -> Tensor:  # (V, V)
    """The unified objective's gradient with respect to `Bigram`, as the learner accumulates it."""
    model, counts = Bigram(), Counts.of(sequences)
    for packed in pack(sequences, max_tokens, pad_id, CPU, Layout("trees")):
        with torch.no_grad():
            batch = replace(packed.batch, ref_logprobs=REFERENCE.logprobs(packed))
        terms = unified_terms(model.logprobs(packed), batch, counts, spec)
        torch.stack(list(terms.weighted(spec.weights_at(0)).values())).sum().backward()
    assert model.table.grad is not None
    return model.table.grad


@pytest.mark.parametrize(
    "spec",
    OBJECTIVES,
    ids=lambda s: f"{format_weight(s.alpha)}-{format_weight(s.lambda_adv)}-{s.grpo.loss}-{s.adversarial.aggregate}",
)
@pytest.mark.parametrize("max_tokens", [1, 20, 1000])
def test_gradient_is_the_naive_loops_however_the_step_is_cut(spec: JobSpec, max_tokens: int) -> None:
    sequences = sequences_for(spec)
    expected = Bigram()
    naive_loss(expected, sequences, spec).backward()
    assert expected.table.grad is not None
    assert expected.table.grad.abs().max() > 1e-4
    # weights pass through float32 tensors, hence not 1e-15
    assert_close(gradient(spec, sequences, max_tokens), expected.table.grad, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("spec", OBJECTIVES[6:])
def test_order_padding_and_cut_change_nothing(spec: JobSpec) -> None:
    sequences = sequences_for(spec)
    kept = gradient(spec, sequences)
    shuffled = random.Random(3).sample(sequences, len(sequences))
    for other in (gradient(spec, shuffled), gradient(spec, sequences, pad_id=9), gradient(spec, shuffled, 30, 5)):
        assert_close(other, kept, rtol=1e-9, atol=1e-12)


def test_every_option_changes_the_gradient() -> None:
    gradients = [gradient(spec, sequences_for(spec)) for spec in (objective(), *OBJECTIVES[6:])]
    for a, b in itertools.combinations(gradients, 2):
        assert (a - b).abs().max() > 1e-6


def test_without_the_adversarial_term_it_is_chord_with_a_constant_mu() -> None:
    mu, sequences = 0.3, make_sequences(7)
    sft, grpo = (gradient(objective(alpha, 0.0), sequences) for alpha in (1.0, 0.0))
    assert_close(gradient(objective(mu, 0.0), sequences), mu * sft + (1 - mu) * grpo)


def test_with_alpha_one_and_no_adversarial_term_it_is_plain_sft() -> None:
    sequences = make_sequences(7)
    demonstrations = [s for s in sequences if s.demonstration]
    model = Bigram()
    rows = torch.log_softmax(model.table, dim=-1)
    pairs = [p for s in demonstrations for p in zip([s.prompt_ids[-1], *s.completion_ids], s.completion_ids)]  # noqa: B905
    (-torch.stack([rows[pair] for pair in pairs]).mean()).backward()
    assert model.table.grad is not None
    assert_close(gradient(objective(1.0, 0.0), sequences), model.table.grad)


def test_kl_estimators_by_hand() -> None:
    # δ = log 2 on the one token, the other is padding: k1 = -log 2, k2 = (log 2)^2 / 2, k3 = 2 - log 2 - 1
    logprobs, reference = torch.tensor([[-1.0, -5.0]]), torch.tensor([[-1.0 + math.log(2), 3.0]])
    mask = torch.tensor([[True, False]])
    expected = {"k1": -math.log(2), "k2": math.log(2) ** 2 / 2, "k3": 1 - math.log(2)}
    for name, value in expected.items():
        assert_close(kl_penalty(logprobs, reference, mask, name), torch.tensor([[value, 0.0]]))  # type: ignore[arg-type]


def test_the_kl_estimators_gradients_are_those_of_the_kl() -> None:
    # Summed over all tokens with their probabilities, k1 and k2 give the exact gradient of KL(policy || reference)
    logits = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor([1.0, 0.2, -0.5], dtype=torch.float64), dim=0)
    policy = torch.log_softmax(logits, dim=0)
    exact = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), logits, retain_graph=True)[0]
    mask = torch.ones(1, 3, dtype=torch.bool)
    for name in ("k1", "k2"):
        penalty = kl_penalty(policy[None], reference[None], mask, name)  # type: ignore[arg-type]
        sampled = torch.autograd.grad((policy.detach().exp() * penalty).sum(), logits, retain_graph=True)[0]
        assert_close(sampled, exact)


@pytest.mark.parametrize(
    "spec",
    [
        objective(),
        objective(adversarial={"surrogate": "reinforce"}),
        objective(grpo={"loss": "gspo", "clip_low": 0.01, "clip_high": 0.02}),
    ],
)
def test_no_gradient_reaches_the_tensors_of_the_batch(spec: JobSpec) -> None:
    sequences = make_sequences(7)
    packed = one_pack(sequences, "blocks")
    batch = packed.batch
    carried = [batch.coef.clone().requires_grad_(), batch.advantages.clone().requires_grad_()]
    batch = replace(batch, coef=carried[0], advantages=carried[1])
    terms = unified_terms(Bigram().logprobs(packed), batch, Counts.of(sequences), spec)
    (terms.sft + terms.grpo + terms.adv).backward()
    assert [tensor.grad for tensor in carried] == [None, None]


@pytest.mark.parametrize("form", ["none", "phi"])
def test_no_gradient_reaches_prompt_or_padding(form: Any) -> None:
    sequences = make_sequences(7)
    packed = one_pack(sequences, "blocks")
    batch = packed.batch
    logprobs = Bigram().logprobs(packed).detach().requires_grad_()
    terms = unified_terms(logprobs, batch, Counts.of(sequences), objective(sft={"token_weight": form}))
    sum(terms.weighted(objective().weights_at(0)).values()).backward()  # type: ignore[union-attr]
    assert logprobs.grad is not None
    touched = logprobs.grad != 0
    assert not (touched & ~batch.completion_mask).any()
    alive = batch.completion_mask & (batch.demonstration | (batch.advantages != 0) | (batch.coef != 0))[:, None]
    assert (touched == alive).float().mean() > 0.9  # clipped tokens have none


@pytest.mark.parametrize("surrogate", ["ppo_clip", "reinforce"])
def test_the_adversarial_term_reads_compared_rows_only(surrogate: Any) -> None:
    sequences = make_sequences(7)
    packed = one_pack(sequences, "blocks")
    batch = packed.batch
    assert batch.compared.any()
    assert not batch.compared.all()
    strange = replace(batch, coef=torch.where(batch.compared, batch.coef, torch.full_like(batch.coef, 5.0)))
    spec = objective(adversarial={"surrogate": surrogate})
    losses = [unified_terms(Bigram().logprobs(packed), b, Counts.of(sequences), spec).adv for b in (batch, strange)]
    assert_close(losses[1], losses[0])


def test_counts_cover_the_whole_step_and_each_term_its_own_rows() -> None:
    sequences = make_sequences(3)
    counts = Counts.of(sequences)
    assert counts.sft_tokens == sum(len(s.completion_ids) for s in sequences[:3])
    assert counts.grpo_tokens == sum(len(s.completion_ids) for i, s in enumerate(sequences[3:]) if i != 1)
    assert counts.grpo_rollouts == 5
    assert counts.adv_tokens == sum(len(s.completion_ids) for i, s in enumerate(sequences[3:]) if i != 2)
    assert counts.adv_rollouts == 5


def test_collate_masks_padding() -> None:
    batch = collate(
        [Sequence([1, 2, 3], [4], demonstration=True), Sequence([5], [6, 7], advantage=1.0, old_logprobs=[-1.0, -2.0])],
        pad_id=0,
        device=CPU,
    )
    assert batch.completion_ids.tolist() == [[4, 0], [6, 7]]
    assert batch.completion_mask.tolist() == [[True, False], [True, True]]
    assert batch.demonstration.tolist() == [True, False]
    assert batch.explored.tolist() == [False, True]
    assert batch.compared.tolist() == [False, False]
