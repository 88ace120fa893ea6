"""Log-probabilities and rollouts of a real model agree with each other and with transformers' own."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from tests.uniapl.packed import one_pack
from uniapl.batching.batch import Sequence
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.policy import Policy
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.spec.job import JobSpec, MixEntry
from uniapl.spec.training import Optimizer, Resources, Rollout
from uniapl.training.learner import Learner

pytestmark = pytest.mark.integration

PROMPTS = [[5, 9, 400, 31], [77], [5, 9, 400, 31, 8, 1000, 12]]


def generator(policy: Policy, batch_size: int = 64, max_new_tokens: int = 12) -> TransformersGenerator:
    return TransformersGenerator(policy, temperature=0.7, max_new_tokens=max_new_tokens, batch_size=batch_size)


@pytest.mark.parametrize("kind", ["plain", "rows", "trees"])
def test_logprobs_are_those_of_each_sequence_alone(policy: Policy, kind: str) -> None:
    sequences = [Sequence([5, 9, 400], [7, 8]), Sequence([3], [4, 5, 6, 7]), Sequence([1, 2], [9])]
    logprobs, entropy = completion_logprobs(policy.model, one_pack(sequences, kind), temperature=0.5)
    for b, s in enumerate(sequences):
        with torch.no_grad():
            logits = policy.model(torch.tensor([s.prompt_ids + s.completion_ids])).logits[0] / 0.5
        distribution = torch.log_softmax(logits, dim=-1)
        for c, token in enumerate(s.completion_ids):
            at = distribution[len(s.prompt_ids) - 1 + c]
            assert_close(logprobs[b, c], at[token], atol=1e-5, rtol=1e-5)
            assert_close(entropy[b, c], -(at.exp() * at).sum(), atol=1e-4, rtol=1e-5)


def test_sampled_logprobs_are_those_of_the_training_forward(policy: Policy) -> None:
    groups = generator(policy).sample(PROMPTS, group_size=3, seed=1)
    sequences = [Sequence(p, c.ids, old_logprobs=c.logprobs) for p, g in zip(PROMPTS, groups, strict=True) for c in g]
    packed = one_pack(sequences)
    logprobs, _ = completion_logprobs(policy.model, packed, temperature=0.7)
    mask = packed.batch.completion_mask
    assert_close(logprobs[mask], packed.batch.old_logprobs[mask], atol=1e-4, rtol=1e-4)


def make_the_end_likely(policy: Policy) -> None:
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[policy.stop_ids[0]] += 0.5 * torch.ones(64)


def test_rollouts_do_not_depend_on_how_they_are_batched(policy: Policy) -> None:
    make_the_end_likely(policy)  # so that rows leave the batch at different times
    together = generator(policy, batch_size=64).sample(PROMPTS, group_size=4, seed=3)
    apart = generator(policy, batch_size=4).sample(PROMPTS, group_size=4, seed=3)
    assert [[c.ids for c in group] for group in together] == [[c.ids for c in group] for group in apart]
    assert len({tuple(c.ids) for group in together for c in group}) > 6  # and they do differ from each other


def test_another_seed_samples_other_rollouts(policy: Policy) -> None:
    one, other = (generator(policy).sample(PROMPTS, group_size=2, seed=seed) for seed in (1, 2))
    assert one != other
    assert one == generator(policy).sample(PROMPTS, group_size=2, seed=1)


def test_sampling_follows_the_distribution(policy: Policy) -> None:
    counts = torch.zeros(policy.model.config.vocab_size)
    for group in generator(policy, batch_size=4096, max_new_tokens=1).sample([[5, 9]], group_size=4096, seed=0):
        for completion in group:
            counts[completion.ids[0]] += 1
    with torch.no_grad():
        expected = torch.softmax(policy.model(torch.tensor([[5, 9]])).logits[0, -1] / 0.7, dim=-1)
    quarters = expected.argsort().chunk(4)  # four bins of tokens, rare to likely
    for tokens in quarters:
        p = expected[tokens].sum().item()
        assert abs(counts[tokens].sum().item() / 4096 - p) < 5 * (p * (1 - p) / 4096) ** 0.5


def test_greedy_is_what_generate_gives(policy: Policy) -> None:
    groups = generator(policy).sample(PROMPTS, group_size=1, seed=0, greedy=True)
    for prompt, group in zip(PROMPTS, groups, strict=True):
        expected = policy.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=policy.pad_id,
        )[0, len(prompt) :]
        assert group[0].ids == expected.tolist()


def test_a_completion_ends_at_the_end_token_or_is_marked_truncated(policy: Policy) -> None:
    end = policy.stop_ids[0]
    make_the_end_likely(policy)
    completions = [c for g in generator(policy, max_new_tokens=40).sample(PROMPTS, group_size=16, seed=5) for c in g]
    assert any(not c.truncated for c in completions)
    for c in completions:
        assert len(c.ids) == len(c.logprobs)
        assert c.truncated == (c.ids[-1] != end)
        assert end not in c.ids[:-1]
        assert not c.truncated or len(c.ids) == 40


def spec(micro_batch_tokens: int, alpha: float = 0.3) -> JobSpec:
    return JobSpec(
        student="tiny",
        dataset_mix=[MixEntry(dataset="d")],
        alpha=alpha,
        lambda_adv=0.01,
        optimizer=Optimizer(
            learning_rate=1.0, eps=1e3, max_grad_norm=1e9
        ),  # the step is then nearly the gradient / 1e3
        resources=Resources(micro_batch_tokens=micro_batch_tokens),
    )


def rollouts_and_demonstrations() -> list[Sequence]:
    return [
        Sequence([5, 9, 400], [7, 8, 9, 2], demonstration=True),
        Sequence([3], [4, 5], demonstration=True),
        Sequence([5, 9, 400], [6, 2], advantage=1.0, coef=-0.5, old_logprobs=[-10.8, -10.8]),
        Sequence([5, 9, 400], [11, 12, 13], advantage=-1.0, coef=0.5, old_logprobs=[-10.8] * 3),
        Sequence([3], [21] * 9, advantage=0.0, coef=2.0, old_logprobs=[-10.8] * 9),
    ]


def test_the_update_is_the_same_whatever_the_micro_batch_size(policy: Policy) -> None:
    reference = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    updated: list[dict[str, torch.Tensor]] = []
    norms = []
    for tokens, measure in ((1, False), (16, False), (4096, False), (16, True)):
        for name, p in policy.model.named_parameters():
            p.data.copy_(reference[name])
        metrics = Learner(policy, spec(tokens)).update(rollouts_and_demonstrations(), 0, measure_terms=measure)
        norms.append(metrics["grad_norm"])
        updated.append({name: p.detach().clone() for name, p in policy.model.named_parameters()})
    assert max(norms) / min(norms) - 1 < 1e-5
    for other in updated[1:]:
        for name, value in updated[0].items():
            assert_close(other[name], value, atol=1e-7, rtol=0)


def test_term_norms_and_cosines_describe_the_gradient(policy: Policy) -> None:
    metrics = Learner(policy, spec(16)).update(rollouts_and_demonstrations(), 0, measure_terms=True)
    a, b, c = (metrics[f"uniapl/grad_norm_{name}"] for name in ("sft", "grpo", "adv"))
    assert min(a, b, c) > 0
    squared = a * a + b * b + c * c
    squared += 2 * a * b * metrics["uniapl/cos_sft_grpo"]
    squared += 2 * a * c * metrics["uniapl/cos_sft_adv"]
    squared += 2 * b * c * metrics["uniapl/cos_grpo_adv"]
    assert abs(squared**0.5 - metrics["grad_norm"]) < 1e-4 * metrics["grad_norm"]


def test_supervised_fine_tuning_teaches_at_the_default_learning_rate(policy: Policy) -> None:
    mix = [MixEntry(dataset="d")]
    learner = Learner(policy, JobSpec(student="tiny", dataset_mix=mix, alpha=1, lambda_adv=0))
    demonstrations = rollouts_and_demonstrations()[:2]
    losses = [learner.update(demonstrations, step, measure_terms=False)["loss"] for step in range(38)]
    assert losses[-1] < 0.99 * losses[0]


def test_alpha_one_without_adversary_is_supervised_fine_tuning(policy: Policy) -> None:
    demonstrations = rollouts_and_demonstrations()[:2]
    sampling = Rollout(temperature=0.5)  # which is no concern of the demonstrations
    sft = spec(4096, alpha=1.0).model_copy(update={"lambda_adv": 0.0, "rollout": sampling})
    with torch.no_grad():  # the library's own loss, prompts and all else ignored
        total = sum(
            torch.nn.functional.cross_entropy(
                policy.model(torch.tensor([s.prompt_ids + s.completion_ids])).logits[0, len(s.prompt_ids) - 1 : -1],
                torch.tensor(s.completion_ids),
                reduction="sum",
            ).item()
            for s in demonstrations
        )
    expected = total / sum(len(s.completion_ids) for s in demonstrations)
    metrics = Learner(policy, sft).update(demonstrations, 0, measure_terms=False)
    assert set(metrics) & {"uniapl/loss_grpo", "uniapl/loss_adv", "entropy"} == set()
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
