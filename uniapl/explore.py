"""One step's exploration: sample groups, verify them, compare them with the teacher."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence as Seq

import torch
from torch import Tensor

from uniapl.advantages import group_advantages
from uniapl.adversarial import coefficients
from uniapl.batch import Sequence
from uniapl.data import EncodedRow
from uniapl.discriminators.base import Comparison, Discriminator
from uniapl.policy import Policy
from uniapl.rewards.verify import final_answer, verify
from uniapl.rollout.base import Completion, Generator
from uniapl.spec.job import JobSpec

Metrics = dict[str, float]


def explore(
    rows: Seq[EncodedRow],  # P prompts
    step: int,
    *,
    spec: JobSpec,
    generator: Generator,
    discriminator: Discriminator | None,
    policy: Policy,
) -> tuple[list[Sequence], Metrics]:
    """Sample `group_size` answers per prompt and give each its advantage and adversarial coefficient.

    Returns:
        P·G rollouts, and the step's exploration metrics.
    """
    started = time.monotonic()
    groups = generator.sample(
        [row.prompt_ids for row in rows],
        group_size=spec.grpo.group_size,
        seed=random.Random(f"{spec.seed}/rollout/{step}").getrandbits(63),
    )
    texts = [[policy.text(c.ids) for c in group] for group in groups]
    metrics = _completion_metrics([c for group in groups for c in group])
    metrics["time/generate"] = time.monotonic() - started

    advantages = _advantages(rows, texts, spec, metrics) if spec.uses_grpo else {}
    coefs = _coefficients(rows, texts, spec, discriminator, metrics) if discriminator is not None else {}
    rollouts = [
        Sequence(
            prompt_ids=row.prompt_ids,
            completion_ids=completion.ids,
            advantage=advantages.get((p, g)),
            coef=coefs.get((p, g)),
            old_logprobs=completion.logprobs,
        )
        for p, (row, group) in enumerate(zip(rows, groups, strict=True))
        for g, completion in enumerate(group)
    ]
    return rollouts, metrics


def _advantages(
    rows: Seq[EncodedRow], texts: list[list[str]], spec: JobSpec, metrics: Metrics
) -> dict[tuple[int, int], float]:
    """A_i of each completion, by (prompt, completion)."""
    started = time.monotonic()
    rewards = torch.zeros(len(rows), spec.grpo.group_size)  # (P, G)
    for p, (row, group) in enumerate(zip(rows, texts, strict=True)):
        assert row.reward is not None  # check_mix has seen to it
        rewards[p] = torch.tensor([verify(text, row.reward, spec.reward, row=row.id) for text in group])
    metrics |= {
        "reward": rewards.mean().item(),
        "reward_std": rewards.std(dim=1).mean().item(),
        "frac_reward_zero_std": (rewards.max(dim=1).values == rewards.min(dim=1).values).float().mean().item(),
        "time/reward": time.monotonic() - started,
    }
    return _by_position(group_advantages(rewards, scale=spec.grpo.scale_rewards), range(len(rows)))


def _coefficients(
    rows: Seq[EncodedRow],
    texts: list[list[str]],
    spec: JobSpec,
    discriminator: Discriminator,
    metrics: Metrics,
) -> dict[tuple[int, int], float]:
    """c_i of each completion whose prompt has a reference, by (prompt, completion)."""
    started = time.monotonic()
    compared = [p for p, row in enumerate(rows) if row.reference is not None]
    metrics["disc/compared_fraction"] = len(compared) / len(rows)
    if not compared:
        return {}
    questions = [
        Comparison(rows[p].prompt, rows[p].reference or "", final_answer(text)) for p in compared for text in texts[p]
    ]
    scores = discriminator.score(questions).view(len(compared), spec.grpo.group_size)  # (P', G)
    coef = coefficients(
        scores,
        scale=spec.adversarial.score_scale or discriminator.default_scale,
        options=spec.adversarial,
    )
    metrics |= {
        "disc/score_student": scores.mean().item(),
        "disc/score_group_std": scores.std(dim=1).mean().item(),
        "disc/coef_abs_mean": coef.abs().mean().item(),
        "time/discriminator": time.monotonic() - started,
    }
    return _by_position(coef, compared)


def _by_position(values: Tensor, prompts: Seq[int]) -> dict[tuple[int, int], float]:
    return {(p, g): v for p, group in zip(prompts, values.tolist(), strict=True) for g, v in enumerate(group)}


def _completion_metrics(completions: list[Completion]) -> Metrics:
    lengths = [len(c.ids) for c in completions]
    return {
        "completions/mean_length": statistics.fmean(lengths),
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
        "completions/clipped_ratio": statistics.fmean(c.truncated for c in completions),
    }
