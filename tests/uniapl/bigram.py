"""A policy small enough to ruin in a second: next-token tables trained by the real objective, with the real metrics."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from uniapl.batching.batch import Counts, Sequence, collate
from uniapl.objective.advantages import group_advantages
from uniapl.objective.adversarial import coefficients
from uniapl.objective.losses import unified_terms
from uniapl.spec.job import JobSpec, MixEntry
from uniapl.spec.objective import Adversarial
from uniapl.spec.weights import Weights

END, VOCAB, LIMIT, PROMPTS, GROUP = 0, 6, 40, 4, 8
TAUGHT, UNTAUGHT = {1, 2, 3}, {4, 5}
TEACHER = torch.tensor([[1 / 8] + [7 / 24] * 3 + [0.0] * 2] * VOCAB)  # ends after 8 tokens on average
TEACHER[END] = torch.tensor([0.0] + [1 / 3] * 3 + [0.0] * 2)  # an answer begins as after an end, and is not empty

Reward = Callable[[list[int]], float]


def taught_share(answer: list[int]) -> float:
    """A reward that agrees with the teacher: the share of words that it uses; nothing for an empty answer."""
    return statistics.fmean([token in TAUGHT for token in answer if token != END] or [0])


def untaught_share(answer: list[int]) -> float:
    """A reward that contradicts it: the share of tokens that the teacher never uses."""
    return statistics.fmean(token in UNTAUGHT for token in answer)


def train(
    reward: Reward,
    *,
    alpha: float,
    lambda_adv: float,
    rate: Callable[[int], float] = lambda step: 0.02,
    steps: int = 100,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Metrics of each step, by the trainer's names."""
    torch.manual_seed(seed)
    literal = Adversarial(aggregate="seq_sum")
    mix = [MixEntry(dataset="d")]
    spec = JobSpec(student="bigram", dataset_mix=mix, alpha=alpha, lambda_adv=lambda_adv, adversarial=literal)
    logits = torch.zeros(VOCAB, VOCAB, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.0)
    history = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate(step)
        references = sample(TEACHER, PROMPTS)
        table = torch.log_softmax(logits, dim=1)
        now: list[list[float]] = table.tolist()
        answers = sample(table.detach().exp(), PROMPTS * GROUP)
        rewards = torch.tensor([reward(answer) for answer in answers]).view(PROMPTS, GROUP)
        scores = torch.tensor([closeness(a, references[i // GROUP]) for i, a in enumerate(answers)])
        scores = scores.view(PROMPTS, GROUP)
        advantages = group_advantages(rewards, scale=True).flatten().tolist()
        coefs = coefficients(scores, scale=1.0, options=literal).flatten().tolist()
        sequences = [Sequence([END], reference, demonstration=True) for reference in references] + [
            Sequence([END], answer, False, advantage, coef, [now[a][b] for a, b in _steps(answer)])
            for answer, advantage, coef in zip(answers, advantages, coefs, strict=True)
        ]
        batch = collate(sequences, pad_id=END, device=torch.device("cpu"))
        before = torch.nn.functional.pad(batch.completion_ids[:, :-1], (1, 0), value=END)
        logprobs = table[before, batch.completion_ids]
        terms = unified_terms(logprobs, batch, Counts.of(sequences), spec)
        loss = torch.stack(list(terms.weighted(Weights(alpha, lambda_adv)).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([logits], 1.0)
        optimizer.step()
        entropies: list[float] = (-(table.exp() * table).sum(dim=1)).tolist()
        history.append(
            {
                **_lengths(answers, references),
                "reward": rewards.mean().item(),
                "reward_std": rewards.std(dim=1).mean().item(),
                "frac_reward_zero_std": (rewards.std(dim=1) == 0).float().mean().item(),
                "disc/score_student": scores.mean().item(),
                "disc/score_group_std": scores.std(dim=1).mean().item(),
                "entropy": statistics.fmean(entropies[a] for answer in answers for a, _ in _steps(answer)),
                "loss": loss.item(),
                "grad_norm": norm.item(),
                "uniapl/alpha": alpha,
                "uniapl/lambda_adv": lambda_adv,
            }
        )
    return history


def sample(table: Tensor, number: int) -> list[list[int]]:
    """Answers of a next-token table (V, V), end token included unless they reach the limit."""
    tokens = torch.zeros(number, LIMIT + 1, dtype=torch.long)
    for t in range(LIMIT):
        tokens[:, t + 1] = torch.multinomial(table[tokens[:, t]].nan_to_num(1.0), 1)[:, 0]
        if (tokens[:, 1 : t + 2] == END).any(dim=1).all():
            break
    rows: list[list[int]] = tokens[:, 1:].tolist()
    return [row[: row.index(END) + 1] if END in row else row for row in rows]


def closeness(answer: list[int], reference: list[int]) -> float:
    """A discriminator's score: how far the counts of each token are from the reference's, in tenths of a token."""
    return -0.1 * sum(abs(answer.count(token) - reference.count(token)) for token in range(VOCAB))


def _steps(answer: list[int]) -> Iterator[tuple[int, int]]:
    """Each token with the one before it."""
    return zip([END, *answer[:-1]], answer, strict=True)


def _lengths(answers: list[list[int]], references: list[list[int]]) -> dict[str, float]:
    ours, teachers = [len(a) for a in answers], [len(r) for r in references]
    return {
        "completions/mean_length": statistics.fmean(ours),
        "completions/std_length": statistics.pstdev(ours),
        "completions/reference_length": statistics.fmean(teachers),
        "completions/reference_std_length": statistics.pstdev(teachers),
    }
