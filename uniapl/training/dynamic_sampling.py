"""Dynamic sampling (DAPO, arXiv:2503.14476, section 3.2): groups without a gradient are replaced by other prompts'.

Answers to one prompt that all earn the same reward have advantages of 0. Further prompts are sampled in their place, in
a bounded number of batches. They come in an order that depends on the seed and the step only, and the decision on the
rewards only, so that a resumed run samples what an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import replace
from itertools import islice

from uniapl.batching.batch import Sequence
from uniapl.training.group_scoring import Prompt

Metrics = dict[str, float]
Groups = list[list[Sequence]]
"""The rollouts of each prompt that enter a term."""
SampleBatch = Callable[[Seq[Prompt], int], tuple[Groups, Metrics]]
"""Samples and scores a batch of further prompts; the number is 1 for the first."""
COSTS = ("reward/timeouts", "reward/failed", "disc/failed")
"""Metrics that are added up over batches, besides times; the others describe the step's own prompts."""


def has_gradient(group: Seq[Sequence]) -> bool:
    """Whether any rollout has an advantage other than 0."""
    return any(s.advantage for s in group)


def replace_flat_groups(
    prompts: Seq[Prompt], groups: Groups, metrics: Metrics, further: Iterator[Prompt], limit: int, sample: SampleBatch
) -> Groups:
    """Groups of the step in which as many flat ones as possible are replaced in L_GRPO; in L_ADV they remain.

    A batch has one prompt for each group that is still to be replaced. Groups that are not stay with advantages of 0.

    Args:
        prompts: of the step.
        groups: their rollouts.
        metrics: of the step; costs and counts are added.
        further: prompts to sample in addition.
        limit: maximum number of batches.
        sample: samples a batch.
    """
    flat = [
        i for i, (p, group) in enumerate(zip(prompts, groups, strict=True)) if p.explored and not has_gradient(group)
    ]
    found: Groups = []
    batches = sampled = 0
    while batches < limit and (batch := list(islice(further, len(flat) - len(found)))):
        batches, sampled = batches + 1, sampled + len(batch)
        new, costs = sample(batch, batches)
        found += [group for group in new if has_gradient(group)]
        for name, value in costs.items():
            if name.startswith("time/") or name in COSTS:
                metrics[name] = metrics.get(name, 0.0) + value
    replaced = set(flat[: len(found)])
    kept = [_without_advantage(group) if i in replaced else group for i, group in enumerate(groups)]
    metrics["uniapl/extra_batches"] = float(batches)
    metrics["uniapl/extra_prompts"] = float(sampled)
    metrics["uniapl/replaced_groups"] = float(len(replaced))
    return kept + found


def _without_advantage(group: list[Sequence]) -> list[Sequence]:
    return [replace(s, advantage=None) for s in group if s.coef is not None]
