"""Held-out scores: greedy answers verified and compared, and the log-probability of the references."""

from __future__ import annotations

import statistics
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
from torch import Tensor

from uniapl.batch import Sequence, micro_batches
from uniapl.data import EncodedRow
from uniapl.discriminators.base import Comparison, Discriminator
from uniapl.policy import Policy, completion_logprobs
from uniapl.rewards.verify import final_answer, verify
from uniapl.rollout.base import Generator
from uniapl.spec.job import JobSpec


@dataclass(frozen=True)
class Answer:
    """The policy's greedy answer to one held-out row."""

    row: EncodedRow
    text: str
    num_tokens: int
    truncated: bool
    reward: float | None
    score: float | None


def evaluate(
    rows: Seq[EncodedRow],
    *,
    spec: JobSpec,
    policy: Policy,
    generator: Generator,
    discriminator: Discriminator | None,
) -> tuple[list[Answer], dict[str, float]]:
    """Answer every row greedily, and score answers and references.

    Returns:
        The answers, and metrics named `eval/…`: mean reward, discriminator score, lengths in tokens, and the mean
        log-probability per reference token in nats.
    """
    groups = generator.sample([row.prompt_ids for row in rows], group_size=1, seed=0, greedy=True)
    completions = [group[0] for group in groups]
    texts = [policy.text(c.ids) for c in completions]
    scores = _scores(rows, texts, discriminator)
    answers = [
        Answer(
            row=row,
            text=text,
            num_tokens=len(completion.ids),
            truncated=completion.truncated,
            reward=verify(text, row.reward, spec.reward, row=row.id) if row.reward else None,
            score=score,
        )
        for row, text, completion, score in zip(rows, texts, completions, scores, strict=True)
    ]
    referenced = [row for row in rows if row.reference_ids]
    metrics = {
        "eval/completion_length": statistics.fmean(a.num_tokens for a in answers),
        "eval/clipped_ratio": statistics.fmean(a.truncated for a in answers),
    }
    if rewards := [a.reward for a in answers if a.reward is not None]:
        metrics["eval/reward"] = statistics.fmean(rewards)
    if compared := [a.score for a in answers if a.score is not None]:
        metrics["eval/score"] = statistics.fmean(compared)
    if referenced:
        metrics["eval/reference_length"] = statistics.fmean(len(row.reference_ids or []) for row in referenced)
        metrics["eval/reference_logprob"] = reference_logprob(referenced, policy, spec)
    return answers, metrics


def _scores(rows: Seq[EncodedRow], texts: list[str], discriminator: Discriminator | None) -> list[float | None]:
    if discriminator is None:
        return [None] * len(rows)
    compared = [i for i, row in enumerate(rows) if row.reference is not None]
    questions = [Comparison(rows[i].prompt, rows[i].reference or "", final_answer(texts[i])) for i in compared]
    found = dict(zip(compared, discriminator.score(questions).tolist(), strict=True))
    return [found.get(i) for i in range(len(rows))]


@torch.no_grad()
def reference_logprob(rows: Seq[EncodedRow], policy: Policy, spec: JobSpec) -> float:
    """Mean log-probability of the teacher's tokens, in nats per token, at temperature 1."""
    sequences = [Sequence(row.prompt_ids, row.reference_ids or [], demonstration=True) for row in rows]
    total, tokens = 0.0, 0
    for batch in micro_batches(sequences, spec.resources.micro_batch_tokens, policy.pad_id, policy.device):
        logprobs, _ = completion_logprobs(policy.model, batch, temperature=1.0)
        selected: Tensor = logprobs[batch.completion_mask]
        total += selected.sum().item()
        tokens += selected.numel()
    return total / tokens
