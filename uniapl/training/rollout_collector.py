"""Rollout collection: sampled groups of completions with their rewards, scores, advantages and coefficients."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from uniapl.batching.batch import Sequence
from uniapl.discriminators.base import Comparison, Discriminator
from uniapl.errors import ScoreError, ServerError
from uniapl.model.policy import Policy
from uniapl.objective.advantages import centre, group_advantages
from uniapl.objective.adversarial import RunningBaseline, coefficients, teacher_weights
from uniapl.objective.overlong import overlong_penalty
from uniapl.rewards.pool import RewardPool, Verdict
from uniapl.rollout.generator import Completion, Generator
from uniapl.spec.job import JobSpec
from uniapl.training.background_scoring import BackgroundScorer
from uniapl.training.dynamic_sampling import replace_flat_groups
from uniapl.training.group_scoring import GroupKey, GroupScorer, GroupScores, Prompt, group_key, usable

Metrics = dict[str, float]
NAN = float("nan")


@dataclass
class Scores:
    """Discriminator scores of one step; NaN for prompts without a score, failures, and during warm-up."""

    rollouts: Tensor  # (P, G)
    teacher: Tensor  # (P,) of the teacher's own answers; for `bt_margin`
    scale: float = 1.0
    """Factor that brings the scores to the order of one."""


@dataclass
class RolloutCollector:
    """Turns prompts into rollouts with advantages and adversarial coefficients."""

    spec: JobSpec
    policy: Policy
    generator: Generator
    rewards: RewardPool
    discriminator: Discriminator | None
    baseline: RunningBaseline = field(default_factory=RunningBaseline)
    background: BackgroundScorer[GroupKey, GroupScores] = field(default_factory=BackgroundScorer)
    further: Callable[[int], Iterator[Prompt]] = lambda step: iter(())
    """Prompts that a step may sample in addition to its own, for `grpo.extra_batches`; a function of the step."""
    _pairs: list[Comparison] = field(default_factory=list)
    """The step's comparisons, which the discriminator learns from."""

    def __post_init__(self) -> None:
        self._scorer = GroupScorer(self.spec, self.policy, self.rewards, self.discriminator)

    def sync(self, version: int) -> None:
        """Give the sampler the policy's weights after `version` updates; see `Generator.sync`."""
        self.generator.sync(version)

    def release(self) -> None:
        """Free the sampler's memory; see `Generator.release`."""
        self.generator.release()

    def cancel(self) -> None:
        """Discard background scoring that has not begun, and wait for the rest."""
        self.background.cancel()

    def collect(
        self,
        prompts: Seq[Prompt],  # P
        step: int,
    ) -> tuple[list[Sequence], Metrics]:
        """Sample `group_size` answers per prompt and give each its advantage and adversarial coefficient.

        Returns:
            P·G rollouts (and, with `target: teacher_response`, the weighted teacher's answers), and the step's
            exploration metrics. With `grpo.extra_batches`, groups without a gradient are replaced.

        Raises:
            RewardError: more rows have an unusable reward than `reward.max_failed_fraction` allows.
            ScoreError: more scores failed than `adversarial.max_failed_fraction` allows.
            ServerError: completions were sampled from other weights than the policy's.
            Stopped: a stop is requested; of the state in checkpoints, only `baseline` may have changed.
        """
        self._pairs = []
        groups, taught, metrics = self._batch(prompts, step, f"{self.spec.seed}/rollout/{step}")
        if limit := self.spec.grpo.extra_batches:
            further = self.further(step)
            groups = replace_flat_groups(prompts, groups, metrics, further, limit, partial(self._further_batch, step))
        return [rollout for group in groups for rollout in group] + taught, metrics

    def _further_batch(self, step: int, prompts: Seq[Prompt], number: int) -> tuple[list[list[Sequence]], Metrics]:
        self.generator.sync(step)  # it was released
        groups, _, metrics = self._batch(prompts, step, f"{self.spec.seed}/rollout/{step}/{number}")
        return groups, metrics

    def _batch(
        self, prompts: Seq[Prompt], step: int, seed: str
    ) -> tuple[list[list[Sequence]], list[Sequence], Metrics]:
        """Rollouts of each prompt that enter a term, the teacher's answers that L_ADV weighs, and metrics."""
        started = time.monotonic()
        groups = self.generator.sample(
            [p.row.prompt_ids for p in prompts],
            group_size=self.spec.grpo.group_size,
            seed=random.Random(seed).getrandbits(63),
            on_group=lambda i, group: self.background.submit(
                group_key(i, group), lambda: self._scorer.score_in_background(prompts[i], group)
            ),
        )
        self.generator.release()
        sampled_at = time.monotonic()
        _check_fresh(groups, step)
        texts = [self._scorer.texts(prompt, group) for prompt, group in zip(prompts, groups, strict=True)]
        futures, hidden_s = self.background.drain(sampled_at)
        keys = {i: key for i, group in enumerate(groups) if (key := group_key(i, group)) in futures}
        background = {i: found for i, key in keys.items() if (found := usable(futures[key])) is not None}
        metrics = _completion_metrics([c for group in groups for c in group])
        metrics["time/generate"] = sampled_at - started
        metrics["time/scoring_hidden"] = hidden_s
        if references := [len(p.row.reference_ids) for p in prompts if p.row.reference_ids]:
            metrics["completions/reference_length"] = statistics.fmean(references)
            metrics["completions/reference_std_length"] = statistics.pstdev(references)

        scores = self._scores(prompts, texts, background, metrics)
        advantages = self._advantages(prompts, groups, texts, background, scores, metrics)  # (P, G)
        coef, taught = self._coefficients(prompts, groups, scores, metrics)  # (P, G)
        rollouts = [
            _rollouts(prompt, group, advantages[p], coef[p])
            for p, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
        ]
        return rollouts, taught, metrics

    def learn(self, metrics: Metrics) -> None:
        """Train the discriminator on the step's comparisons; called once the policy has its update.

        No stop is accepted from that update to the end of this call, so a checkpoint holds both updates or neither.

        Raises:
            DivergedError: the discriminator's loss is not finite.
        """
        if self.discriminator is None or not self._pairs:
            return
        started = time.monotonic()
        metrics |= self.discriminator.learn(self._pairs)
        metrics["time/discriminator"] += time.monotonic() - started
        self._pairs = []

    def _scores(
        self, prompts: Seq[Prompt], texts: list[list[str]], background: Mapping[int, GroupScores], metrics: Metrics
    ) -> Scores:
        """Scores of the step, before `learn` trains the discriminator on the same comparisons."""
        G, options = self.spec.grpo.group_size, self.spec.adversarial
        scores = Scores(torch.full((len(prompts), G), NAN), torch.full((len(prompts),), NAN))
        scored = [i for i, p in enumerate(prompts) if self._scorer.is_scored(p)]
        if self.discriminator is None:
            return scores
        scores.scale = options.score_scale or self.discriminator.default_scale
        if not scored:
            return scores
        started = time.monotonic()
        comparisons = {i: self._scorer.comparisons(prompts[i].row, texts[i]) for i in scored}
        found = self._scorer.scores(comparisons, background)  # (P', G) or (P', G + 1)
        self._check_failed(found, [prompts[i].row.id for i in scored], metrics)
        rollouts = found[:, :G].contiguous()
        if self.discriminator.ready:
            scores.rollouts[scored] = rollouts
            if options.coef == "bt_margin":
                scores.teacher[scored] = found[:, G]
        if self.discriminator.version is not None:
            metrics["disc/version"] = float(self.discriminator.version)
        self._pairs += [c for group in comparisons.values() for c in group[:G]]
        metrics["time/discriminator"] = time.monotonic() - started
        if rollouts.isfinite().any():
            metrics["disc/score_student"] = rollouts[rollouts.isfinite()].mean().item()
            metrics["disc/score_group_std"] = centre(rollouts)[1].mean().item()
        return scores

    def _check_failed(
        self,
        scores: Tensor,  # (P', G) or (P', G + 1)
        rows: list[str],  # P' ids
        metrics: Metrics,
    ) -> None:
        failed = ~scores.isfinite()
        metrics["disc/failed"] = float(failed.sum())
        limit = self.spec.adversarial.max_failed_fraction
        if failed.float().mean() > limit:
            raise ScoreError(
                f"the discriminator returned no finite score for {int(failed.sum())} of {failed.numel()} answers of "
                f"this step; first row: {rows[int(failed.nonzero()[0, 0])]}",
                param="adversarial.max_failed_fraction",
                hint=f"inspect that row; a step may lose up to {limit:.0%} of its rollouts",
            )

    def _advantages(
        self,
        prompts: Seq[Prompt],
        groups: list[list[Completion]],
        texts: list[list[str]],
        background: Mapping[int, GroupScores],
        scores: Scores,
        metrics: Metrics,
    ) -> Tensor:
        """A_i (P, G), NaN for rollouts outside L_GRPO."""
        advantages = torch.full(scores.rollouts.shape, NAN)
        explored = [i for i, p in enumerate(prompts) if p.explored]
        if not explored:
            return advantages
        started = time.monotonic()
        verdicts = self._scorer.verdicts(
            {i: self._scorer.questions(prompts[i].row, texts[i]) for i in explored}, background
        )
        metrics |= _failures(verdicts) | {"time/reward": time.monotonic() - started}
        earned = [NAN if v.value is None else v.value for v in verdicts]
        rewards = torch.tensor(earned, dtype=torch.float64).view(len(explored), -1)  # (P', G); float32 rounds a third
        if rewards.isfinite().any():
            metrics |= {"reward": rewards.nanmean().item(), "reward_std": centre(rewards)[1].mean().item()}
        weight = self.spec.reward.discriminator_weight
        if weight > 0 and scores.rollouts.isfinite().any():  # rows without a reference go without
            referenced = torch.tensor([prompts[i].row.reference is not None for i in explored])[:, None]
            rewards = torch.where(referenced, rewards + weight * scores.scale * scores.rollouts[explored], rewards)
        rewards = rewards + self._overlong([groups[i] for i in explored], metrics)
        metrics["frac_reward_zero_std"] = (centre(rewards)[1] == 0).float().mean().item()
        found = group_advantages(rewards, scale=self.spec.grpo.scale_rewards)
        left_out = ~rewards.isfinite()
        if self.spec.grpo.truncated == "mask":
            left_out |= _truncated([groups[i] for i in explored])
        advantages[explored] = found.masked_fill(left_out, NAN)
        return advantages

    def _overlong(self, groups: list[list[Completion]], metrics: Metrics) -> Tensor:
        """Rewards that long completions lose, as numbers of at most 0 (P', G)."""
        options = self.spec.reward
        lengths = torch.tensor([[len(c.ids) for c in group] for group in groups])
        penalty = (
            overlong_penalty(lengths, limit=self.spec.rollout.max_new_tokens, tokens=options.overlong_tokens)
            * options.overlong_penalty
        )
        if options.overlong_tokens > 0:
            metrics["reward/overlong_penalty"] = penalty.mean().item()
        return penalty

    def _coefficients(
        self,
        prompts: Seq[Prompt],
        groups: list[list[Completion]],
        scores: Scores,
        metrics: Metrics,
    ) -> tuple[Tensor, list[Sequence]]:
        """c_i (P, G), NaN for rollouts outside L_ADV; and the teacher's answers that L_ADV weighs instead."""
        options = self.spec.adversarial
        known, scale = scores.rollouts, scores.scale
        coef = torch.full(known.shape, NAN)
        compared = [i for i, p in enumerate(prompts) if p.compared]
        if not compared or self.discriminator is None:
            return coef, []
        if options.truncated == "mask":
            known = known.masked_fill(_truncated(groups), NAN)
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
        if coef.isfinite().any():  # none during a learned discriminator's warm-up
            metrics["disc/coef_abs_mean"] = coef.abs().nanmean().item()
        return coef, []


def _truncated(groups: list[list[Completion]]) -> Tensor:  # (P, G) bool
    return torch.tensor([[c.truncated for c in group] for group in groups])


def _check_fresh(groups: list[list[Completion]], step: int) -> None:
    """Raises `ServerError` if a completion was sampled from other weights than those after `step` updates."""
    if stale := {c.version for group in groups for c in group if c.version is not None} - {step}:
        raise ServerError(
            f"step {step + 1}: completions were sampled from the weights after {sorted(stale)} updates instead of "
            f"{step}",
            param="rollout.backend",
        )


def _rollouts(
    prompt: Prompt,
    group: list[Completion],
    advantages: Tensor,  # (G,)
    coef: Tensor,  # (G,)
) -> list[Sequence]:
    """The completions that enter a term."""
    rollouts = [
        Sequence(
            prompt_ids=prompt.row.prompt_ids,
            completion_ids=completion.ids,
            advantage=_known(advantages[g]),
            coef=_known(coef[g]),
            old_logprobs=completion.logprobs,
        )
        for g, completion in enumerate(group)
    ]
    return [r for r in rollouts if r.advantage is not None or r.coef is not None]


def _known(value: Tensor) -> float | None:
    number = value.item()
    return None if math.isnan(number) else number


def _failures(verdicts: list[Verdict]) -> Metrics:
    """Number of answers whose verification timed out, and of those that failed for another reason."""
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
