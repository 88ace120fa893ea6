"""Measured norms of the three terms' gradients by length of the completions (`make gradient-shares`).

A tiny random student samples completions of exactly the given length from each prompt. Half of them earn the reward,
the scores are standard normal draws, and the demonstrations are as long as the completions. With a FILE as argument the
table is written between its markers, as in docs/method.md.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence as Seq
from pathlib import Path

import torch

from uniapl.batching.batch import Sequence
from uniapl.model.policy import Policy, load_policy
from uniapl.objective.advantages import group_advantages
from uniapl.objective.adversarial import coefficients
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec
from uniapl.training.learner import Learner

STUDENT = Path(__file__).parent.parent / "data" / "models" / "tiny-random-llama"
LENGTHS = (16, 64, 256, 1024)
AGGREGATES = ("relative", "seq_sum")
ALPHA, LAMBDA = 0.5, 1e-3
PROMPTS, GROUP = 2, 8
BEGIN, END = "<!-- gradient shares -->", "<!-- end -->"
Row = dict[str, float]


class Endless(Policy):
    """A policy whose completions end at the length limit only."""

    @property
    def stop_ids(self) -> list[int]:
        """No token."""
        return []


def sequences_of(policy: Policy, length: int, spec: JobSpec) -> list[Sequence]:
    """A step's rollouts and demonstrations, all of `length` tokens."""
    draw = random.Random(0)
    endless = Endless(policy.model, policy.tokenizer, policy.layout)
    sampler = TransformersGenerator(endless, temperature=1.0, max_new_tokens=length, batch_size=GROUP)
    prompts = [[draw.randrange(3, 900) for _ in range(8)] for _ in range(PROMPTS)]
    groups = sampler.sample(prompts, group_size=GROUP, seed=0)
    torch.manual_seed(0)
    rewards = (torch.rand(PROMPTS, GROUP).argsort(dim=1) < GROUP // 2).float()
    advantages = group_advantages(rewards, scale=True)
    coefs = coefficients(torch.randn(PROMPTS, GROUP), scale=1.0, options=spec.adversarial)
    rollouts = [
        Sequence(prompt, c.ids, False, advantages[p, g].item(), coefs[p, g].item(), c.logprobs)
        for p, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
        for g, c in enumerate(group)
    ]
    taught = [Sequence(prompt, [draw.randrange(3, 900) for _ in range(length)], True) for prompt in prompts]
    return rollouts + taught


def measure(length: int, aggregate: str) -> Row:
    """Norms of the weighted terms' gradients in the first step."""
    policy = load_policy(ModelSource(path=str(STUDENT)), torch.device("cpu"))
    spec = JobSpec.model_validate(
        {
            "student": "tiny",
            "dataset_mix": [{"dataset": "d"}],
            "alpha": ALPHA,
            "lambda_adv": LAMBDA,
            "adversarial": {"aggregate": aggregate},
            "rollout": {"max_new_tokens": length},
        }
    )
    metrics = Learner(policy, spec).update(sequences_of(policy, length, spec), 0, measure_terms=True)
    return {name: metrics[f"uniapl/grad_norm_{name}"] for name in ("sft", "grpo", "adv")}


def table(lengths: Seq[int]) -> list[str]:
    """The norms and the shares, as lines of Markdown."""
    lines = [
        "| `aggregate` | tokens | α·g_SFT | (1 − α)·g_GRPO | λ·g_ADV | λ·g_ADV / (1 − α)·g_GRPO |",
        "|---|---|---|---|---|---|",
    ]
    for aggregate in AGGREGATES:
        for length in lengths:
            row = measure(length, aggregate)
            norms = " | ".join(f"{row[name]:.4f}" for name in ("sft", "grpo", "adv"))
            lines.append(f"| `{aggregate}` | {length} | {norms} | {row['adv'] / row['grpo']:.3f} |")
    return lines


def main(arguments: Seq[str]) -> int:
    """Print the table, or write it into a file; return the exit status."""
    text = "\n".join(table(LENGTHS))
    print(text)
    if arguments:
        path = Path(arguments[0])
        before, rest = path.read_text().split(BEGIN)
        path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
