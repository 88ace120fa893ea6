"""One step's exploration: sample groups, verify them, compare them with the teacher."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

import torch
from torch import Tensor

from uniapl.batching.batch import Sequence
from uniapl.data.encoding import EncodedRow
from uniapl.discriminators.base import Comparison, Discriminator
from uniapl.discriminators.learned import LearnedDiscriminator
from uniapl.discriminators.remote import RemoteEmbedding, RemotePolar
from uniapl.errors import ScoreError, ServerError
from uniapl.model.policy import Policy
from uniapl.objective.advantages import centre, group_advantages
from uniapl.objective.adversarial import RunningBaseline, coefficients, teacher_weights
from uniapl.rewards.pool import Question, RewardPool, Verdict, check_failures
from uniapl.rewards.verify import final_answer
from uniapl.rollout.generator import Completion, Generator
from uniapl.spec.job import JobSpec
from uniapl.spec.objective import Adversarial
from uniapl.training.background_scoring import BackgroundScorer

Metrics = dict[str, float]
NAN = float("nan")


@dataclass(frozen=True)
class Prompt:
    """A row to sample from, and which terms see its rollouts."""

    row: EncodedRow
    explored: bool
    """L_GRPO, so its answers are verified."""
    compared: bool
    """L_ADV, so its answers are compared with the teacher's."""


@dataclass
class Scores:
    """What the discriminator says of a step, NaN where it was not asked, failed, or still warms up."""

    rollouts: Tensor  # (P, G)
    teacher: Tensor  # (P,) of the teacher's own answers; for `bt_margin`
    scale: float = 1.0
    """Factor that brings them to the order of one."""


def comparison(row: EncodedRow, output: str, options: Adversarial) -> Comparison:
    """What the discriminator is asked about an answer to a row that has a reference."""
    reference = row.reference or ""
    if options.think == "strip":
        reference, output = final_answer(reference), final_answer(output)
    return Comparison(row.prompt, reference, output)


@dataclass
class RolloutCollector:
    """What turns prompts into rollouts with advantages and adversarial coefficients."""

    spec: JobSpec
    policy: Policy
    generator: Generator
    rewards: RewardPool
    discriminator: Discriminator | None
    baseline: RunningBaseline = field(default_factory=RunningBaseline)
    background: BackgroundScorer = field(default_factory=BackgroundScorer)
    _verdicts: dict[tuple[int, str], Verdict] = field(default_factory=dict)
    """Of the step's answers that were verified while others were sampled, by their row's reward and answer."""
    _pairs: list[Comparison] = field(default_factory=list)
    """Of the step, for a discriminator that learns from them."""

    def collect(
        self,
        prompts: Seq[Prompt],  # P
        step: int,
    ) -> tuple[list[Sequence], Metrics]:
        """Sample `group_size` answers per prompt and give each its advantage and adversarial coefficient.

        Returns:
            P·G rollouts (and, with `target: teacher_response`, the weighted teacher's answers), and the step's
            exploration metrics.

        Raises:
            RewardError: more rows are at fault, so that no answer to them can be judged, than
                `reward.max_failed_fraction` allows.
            ScoreError: more scores failed than `adversarial.max_failed_fraction` allows.
            ServerError: answers come from other weights than the policy's.
            Stopped: this process is asked to stop; of what a checkpoint holds, only `baseline` may have changed.
        """
        started = time.monotonic()
        groups = self.generator.sample(
            [p.row.prompt_ids for p in prompts],
            group_size=self.spec.grpo.group_size,
            seed=random.Random(f"{self.spec.seed}/rollout/{step}").getrandbits(63),
            on_group=lambda i, group: self.background.submit(lambda: self._score_in_background(prompts[i], group)),
        )
        sampled_at = time.monotonic()
        _check_fresh(groups, step)
        texts = [
            [prompt.row.answer(self.policy.text(c.ids)) for c in group]
            for prompt, group in zip(prompts, groups, strict=True)
        ]
        metrics = _completion_metrics([c for group in groups for c in group])
        metrics["time/generate"] = sampled_at - started
        metrics["time/scoring_hidden"] = self.background.drain(sampled_at)
        if references := [len(p.row.reference_ids) for p in prompts if p.row.reference_ids]:
            metrics["completions/reference_length"] = statistics.fmean(references)
            metrics["completions/reference_std_length"] = statistics.pstdev(references)

        scores = self._scores(prompts, texts, metrics)
        advantages = self._advantages(prompts, texts, scores, metrics)  # (P, G)
        coef, taught = self._coefficients(prompts, groups, scores, metrics)  # (P, G)
        rollouts = [
            Sequence(
                prompt_ids=prompt.row.prompt_ids,
                completion_ids=completion.ids,
                advantage=_known(advantages[p, g]),
                coef=_known(coef[p, g]),
                old_logprobs=completion.logprobs,
            )
            for p, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
            for g, completion in enumerate(group)
        ]
        return [r for r in rollouts if r.advantage is not None or r.coef is not None] + taught, metrics

    def learn(self, metrics: Metrics) -> None:
        """Have a learned discriminator learn from the step's pairs; to be called once the policy has its update.

        Nothing heeds a stop from that update to the end of this, so a checkpoint holds both or neither.

        Raises:
            DivergedError: its loss is not finite.
        """
        if not isinstance(self.discriminator, LearnedDiscriminator) or not self._pairs:
            return
        started = time.monotonic()
        metrics |= self.discriminator.learn(self._pairs)
        metrics["time/discriminator"] += time.monotonic() - started
        self._pairs = []

    def _score_in_background(self, prompt: Prompt, group: list[Completion]) -> None:
        """Verify one prompt's answers, and have a server score them, which remembers what it was asked."""
        texts = [prompt.row.answer(self.policy.text(c.ids)) for c in group]
        if prompt.explored:
            questions = self._questions([prompt.row], [texts])
            for question, verdict in zip(questions, self.rewards.verify(questions), strict=True):
                self._verdicts[id(question.reward), question.answer] = verdict
        if isinstance(self.discriminator, (RemotePolar, RemoteEmbedding)) and self._is_scored(prompt):
            self.discriminator.score([comparison(prompt.row, text, self.spec.adversarial) for text in texts])

    def _is_scored(self, prompt: Prompt) -> bool:
        in_reward = self.spec.reward.discriminator_weight > 0
        return bool(prompt.row.reference) and (prompt.compared or (in_reward and prompt.explored))

    def _scores(self, prompts: Seq[Prompt], texts: list[list[str]], metrics: Metrics) -> Scores:
        """Ask the discriminator; a learned one scores first, and `learn` has it learn from these pairs afterwards."""
        G, options = self.spec.grpo.group_size, self.spec.adversarial
        scores = Scores(torch.full((len(prompts), G), NAN), torch.full((len(prompts),), NAN))
        if self.discriminator is None:
            return scores
        scores.scale = options.score_scale or self.discriminator.default_scale
        asked = [i for i, p in enumerate(prompts) if self._is_scored(p)]
        if not asked:
            return scores
        started = time.monotonic()
        pairs = [comparison(prompts[i].row, text, options) for i in asked for text in texts[i]]
        own = [comparison(prompts[i].row, prompts[i].row.reference or "", options) for i in asked]
        own = own if options.coef == "bt_margin" else []
        found = self.discriminator.score(pairs + own)
        self._check_failed(found, [prompts[i].row.id for i in asked for _ in range(G)], metrics)
        rollouts = found[: len(pairs)].view(-1, G)  # (P', G)
        if not isinstance(self.discriminator, LearnedDiscriminator) or self.discriminator.ready:
            scores.rollouts[asked] = rollouts
            if own:
                scores.teacher[asked] = found[len(pairs) :]
        if isinstance(self.discriminator, LearnedDiscriminator):
            metrics["disc/version"] = float(self.discriminator.version)
            self._pairs = pairs
        metrics["time/discriminator"] = time.monotonic() - started
        if rollouts.isfinite().any():
            metrics["disc/score_student"] = rollouts[rollouts.isfinite()].mean().item()
            metrics["disc/score_group_std"] = centre(rollouts)[1].mean().item()
        return scores

    def _check_failed(self, scores: Tensor, rows: list[str], metrics: Metrics) -> None:
        """`scores` are of the rollouts of `rows`, and perhaps of the teacher's answers after them."""
        failed = ~scores.isfinite()
        metrics["disc/failed"] = float(failed.sum())
        limit = self.spec.adversarial.max_failed_fraction
        if failed.float().mean() > limit:
            raise ScoreError(
                f"the discriminator failed on {int(failed.sum())} of {failed.numel()} answers of this step, the first "
                f"of them of row {rows[int(failed.nonzero()[0]) % len(rows)]}",
                param="adversarial.max_failed_fraction",
                hint=f"look at that row; up to {limit:.0%} of a step's rollouts would be left out and counted",
            )

    def _advantages(self, prompts: Seq[Prompt], texts: list[list[str]], scores: Scores, metrics: Metrics) -> Tensor:
        """A_i (P, G), NaN for rollouts that L_GRPO must not see."""
        advantages = torch.full(scores.rollouts.shape, NAN)
        explored = [i for i, p in enumerate(prompts) if p.explored]
        if not explored:
            return advantages
        started = time.monotonic()
        verdicts = self._verdicts_of([prompts[i].row for i in explored], [texts[i] for i in explored])
        metrics |= _failures(verdicts) | {"time/reward": time.monotonic() - started}
        earned = [NAN if v.value is None else v.value for v in verdicts]
        rewards = torch.tensor(earned, dtype=torch.float64).view(len(explored), -1)  # (P', G); float32 rounds a third
        if rewards.isfinite().any():
            metrics |= {"reward": rewards.nanmean().item(), "reward_std": centre(rewards)[1].mean().item()}
        weight = self.spec.reward.discriminator_weight
        if weight > 0 and scores.rollouts.isfinite().any():  # rows without a reference go without
            referenced = torch.tensor([prompts[i].row.reference is not None for i in explored])[:, None]
            rewards = torch.where(referenced, rewards + weight * scores.scale * scores.rollouts[explored], rewards)
        metrics["frac_reward_zero_std"] = (centre(rewards)[1] == 0).float().mean().item()
        found = group_advantages(rewards, scale=self.spec.grpo.scale_rewards)
        advantages[explored] = torch.where(rewards.isfinite(), found, NAN)
        return advantages

    def _verdicts_of(self, rows: list[EncodedRow], texts: list[list[str]]) -> list[Verdict]:  # P'·G
        """Of every answer, row by row."""
        questions = self._questions(rows, texts)
        left = [q for q in questions if (id(q.reward), q.answer) not in self._verdicts]
        verified = iter(self.rewards.verify(left))
        verdicts = [self._verdicts.get((id(q.reward), q.answer)) or next(verified) for q in questions]
        self._verdicts.clear()
        if all(verdict.value is None for verdict in verdicts):  # one row among others ends no job
            check_failures(verdicts, questions, self.spec.reward)
        return verdicts

    def _questions(self, rows: list[EncodedRow], texts: list[list[str]]) -> list[Question]:
        return [
            Question(final_answer(text), row.reward, row.id)
            for row, group in zip(rows, texts, strict=True)
            if row.reward is not None  # check_mix has seen to it
            for text in group
        ]

    def _coefficients(
        self,
        prompts: Seq[Prompt],
        groups: list[list[Completion]],
        scores: Scores,
        metrics: Metrics,
    ) -> tuple[Tensor, list[Sequence]]:
        """c_i (P, G), NaN for rollouts that L_ADV must not see; and the teacher's answers that it weighs instead."""
        options = self.spec.adversarial
        known, scale = scores.rollouts, scores.scale
        coef = torch.full(known.shape, NAN)
        compared = [i for i, p in enumerate(prompts) if p.compared]
        if not compared or self.discriminator is None:
            return coef, []
        if options.truncated == "mask":
            known = known.masked_fill(torch.tensor([[c.truncated for c in group] for group in groups]), NAN)
        if options.target == "teacher_response":
            weights = teacher_weights(known[compared], scale=scale, options=options).tolist()
            rows = [prompts[i].row for i in compared]
            taught = [
                Sequence(row.prompt_ids, row.reference_ids or [], coef=w)
                for row, w in zip(rows, weights, strict=True)
                if not math.isnan(w)
            ]
            if taught:
                metrics["disc/coef_abs_mean"] = statistics.fmean(s.coef or 0.0 for s in taught)
            return coef, taught
        coef[compared] = coefficients(
            known[compared],
            scale=scale,
            options=options,
            teacher_scores=scores.teacher[compared],
            baseline=self.baseline,
        )
        if coef.isfinite().any():  # none is while a learned discriminator warms up
            metrics["disc/coef_abs_mean"] = coef.abs().nanmean().item()
        return coef, []


def _check_fresh(groups: list[list[Completion]], step: int) -> None:
    """Raises `ServerError` if any answer was sampled from other weights than those after `step` updates."""
    if stale := {c.version for group in groups for c in group if c.version is not None} - {step}:
        raise ServerError(
            f"step {step + 1}: answers were sampled from the weights after {sorted(stale)} updates instead of {step}",
            param="rollout.backend",
        )


def _known(value: Tensor) -> float | None:
    number = value.item()
    return None if math.isnan(number) else number


def _failures(verdicts: list[Verdict]) -> Metrics:
    """How many answers could not be judged in time, and how many for another reason."""
    failed = [v for v in verdicts if v.error is not None]
    late = sum(v.timed_out for v in failed)
    return {"reward/timeouts": float(late), "reward/failed": float(len(failed) - late)}


def _completion_metrics(completions: list[Completion]) -> Metrics:
    lengths = [len(c.ids) for c in completions]
    return {
        "completions/mean_length": statistics.fmean(lengths),
        "completions/std_length": statistics.pstdev(lengths),
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
        "completions/clipped_ratio": statistics.fmean(c.truncated for c in completions),
    }
