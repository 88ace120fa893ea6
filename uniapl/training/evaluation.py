"""Held-out evaluation: rewards and scores of greedy and sampled answers, and log-probabilities of the references."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch

from uniapl.batching.batch import Sequence
from uniapl.batching.packed import pack
from uniapl.data.encoded_row import EncodedRow
from uniapl.discriminators.base import Discriminator
from uniapl.model.logprobs import completion_logprobs, precision
from uniapl.model.policy import Policy
from uniapl.rewards.pool import Question, RewardPool
from uniapl.rewards.verify import final_answer
from uniapl.rollout.generator import Completion, Generator
from uniapl.rollout.stop_strings import before_stop
from uniapl.run.signals import raise_if_stopped
from uniapl.spec.job import JobSpec
from uniapl.training.behaviour_profile import Profile, measure
from uniapl.training.group_scoring import comparison


@dataclass(frozen=True)
class Answer:
    """The policy's answer to one held-out row."""

    row: EncodedRow
    text: str
    completion: Completion
    reward: float | None
    score: float | None


@dataclass(frozen=True)
class Evaluation:
    """The policy's answers to held-out rows, and its log-probabilities of the teacher's answers."""

    greedy: list[Answer]
    """One answer per row, decoded greedily."""
    sampled: list[Answer]
    """`evaluation.profile_completions` answers per row, sampled like rollouts, with the same seed at every step."""
    teacher_logprobs: list[list[float]]
    """Nats of each token of each reference, at temperature 1."""
    tempered_logprobs: list[list[float]]
    """The same at the temperature of the rollouts, comparable with the sampled answers."""

    def profile(self, step: int) -> Profile | None:
        """The profile of sampled answers against the references of the same rows; `None` if one of them is missing."""
        compared = [a.completion for a in self.sampled if a.row.reference_ids]
        if not compared:
            return None
        return measure(
            step,
            [len(c.ids) for c in compared],
            [len(tokens) for tokens in self.tempered_logprobs],
            [p for c in compared for p in c.logprobs],
            [p for tokens in self.tempered_logprobs for p in tokens],
        )

    def metrics(self) -> dict[str, float]:
        """Metrics `eval/…`: mean reward and score, lengths in tokens, mean log-probability per reference token."""
        metrics = {
            "eval/completion_length": statistics.fmean(len(a.completion.ids) for a in self.greedy),
            "eval/clipped_ratio": statistics.fmean(a.completion.truncated for a in self.greedy),
        }
        for answers, suffix in ((self.greedy, ""), (self.sampled, "_sampled")):
            if rewards := [a.reward for a in answers if a.reward is not None]:
                metrics[f"eval/reward{suffix}"] = statistics.fmean(rewards)
            if scores := [a.score for a in answers if a.score is not None]:
                metrics[f"eval/score{suffix}"] = statistics.fmean(scores)
        if self.teacher_logprobs:
            metrics["eval/reference_length"] = statistics.fmean(len(tokens) for tokens in self.teacher_logprobs)
            metrics["eval/reference_logprob"] = statistics.fmean(p for tokens in self.teacher_logprobs for p in tokens)
        if self.sampled:
            metrics["eval/distinct_2"] = distinct_bigrams(self.sampled)
        return metrics


def evaluate(
    rows: Seq[EncodedRow],
    *,
    spec: JobSpec,
    policy: Policy,
    generator: Generator,
    rewards: RewardPool,
    discriminator: Discriminator | None,
    micro_batch_tokens: int,
    progress: Callable[[], None],
) -> Evaluation:
    """Answer every row greedily and by sampling, and score answers and references.

    Args:
        rows: the held-out rows.
        spec: the job.
        policy: the student.
        generator: samples the answers.
        rewards: verifies the answers.
        discriminator: scores the answers, where the job has one.
        micro_batch_tokens: tokens per forward pass.
        progress: called for each prompt that a sampler on a server completes.

    Raises:
        Stopped: a stop is requested.
    """

    def sample(group_size: int, *, greedy: bool) -> list[tuple[EncodedRow, Completion]]:
        if group_size == 0:
            return []
        prompts = [row.prompt_ids for row in rows]
        groups = generator.sample(prompts, group_size=group_size, seed=0, greedy=greedy, on_group=lambda *_: progress())
        return [(row, completion) for row, group in zip(rows, groups, strict=True) for completion in group]

    asked = sample(1, greedy=True), sample(spec.evaluation.profile_completions if spec.evaluation else 0, greedy=False)
    generator.release()  # before the discriminator and the policy need the memory
    greedy, sampled = (_score_answers(of, spec, policy, rewards, discriminator) for of in asked)
    referenced, temperature = [row for row in rows if row.reference_ids], spec.rollout.temperature
    plain = reference_logprobs(referenced, policy, micro_batch_tokens, temperature=1.0)
    return Evaluation(
        greedy=greedy,
        sampled=sampled,
        teacher_logprobs=plain,
        tempered_logprobs=plain
        if temperature == 1
        else reference_logprobs(referenced, policy, micro_batch_tokens, temperature=temperature),
    )


def _score_answers(
    asked: list[tuple[EncodedRow, Completion]],
    spec: JobSpec,
    policy: Policy,
    rewards: RewardPool,
    discriminator: Discriminator | None,
) -> list[Answer]:
    """Answers with reward and score, `None` where one cannot be computed."""
    stop, options = spec.rollout.stop, spec.adversarial
    texts = [row.answer(before_stop(policy.text(completion.ids), stop)) for row, completion in asked]
    verified = {
        i: Question(final_answer(text), row.reward, row.id, published=True)
        for i, ((row, _), text) in enumerate(zip(asked, texts, strict=True))
        if row.reward is not None
    }
    verdicts = rewards.verify(list(verified.values()))
    earned = {i: verdict.value for i, verdict in zip(verified, verdicts, strict=True)}
    scores: dict[int, float] = {}
    if discriminator is not None:
        compared = [i for i, (row, _) in enumerate(asked) if row.reference is not None]
        found = discriminator.score([comparison(asked[i][0], texts[i], options) for i in compared])
        scores = {i: score for i, score in zip(compared, found.tolist(), strict=True) if score == score}
    return [
        Answer(
            row=row,
            text=text,
            completion=completion,
            reward=earned.get(i),
            score=scores.get(i),
        )
        for i, ((row, completion), text) in enumerate(zip(asked, texts, strict=True))
    ]


@torch.no_grad()
def reference_logprobs(
    rows: Seq[EncodedRow], policy: Policy, micro_batch_tokens: int, *, temperature: float
) -> list[list[float]]:
    """Log-probability of each reference token, in nats; one list per row, longest first."""
    sequences = [Sequence(row.prompt_ids, row.reference_ids or [], demonstration=True) for row in rows]
    found: list[list[float]] = []
    for packed in pack(sequences, micro_batch_tokens, policy.pad_id, policy.device, policy.layout):
        raise_if_stopped()
        with precision(policy.device):
            logprobs, _ = completion_logprobs(policy.model, packed, temperature=temperature)
        found += [row[mask].tolist() for row, mask in zip(logprobs, packed.batch.completion_mask, strict=True)]
    return found


def distinct_bigrams(answers: Seq[Answer]) -> float:
    """Share of distinct token bigrams among all answers to a prompt (distinct-2, arXiv:1510.03055).

    The mean over prompts; 1 where no bigram repeats, and for prompts whose answers have none.
    """
    by_row: dict[str, list[tuple[int, int]]] = {}
    for answer in answers:
        ids = answer.completion.ids
        by_row.setdefault(answer.row.id, []).extend(itertools.pairwise(ids))
    return statistics.fmean(len(set(pairs)) / len(pairs) if pairs else 1.0 for pairs in by_row.values())
