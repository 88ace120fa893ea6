"""UniAPL updates on replayed rollouts, as a child process.

Usage: `python -m benchmarks.our_side KIND LAYOUT STEPS DEVICE CASE`.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace

import torch

from benchmarks.fresh import MODEL, Result, Steps
from benchmarks.replay import Case
from uniapl.batching.batch import Sequence
from uniapl.batching.packed import pack
from uniapl.batching.packing import Layout
from uniapl.model.cpu.malloc import keep_freed_memory
from uniapl.model.layout_check import with_layout
from uniapl.model.logprobs import completion_logprobs, precision
from uniapl.model.policy import Policy, load_policy
from uniapl.objective.advantages import group_advantages
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec
from uniapl.training.learner import Learner

ALPHA = 0.1
"""alpha of a unified step."""
LAMBDA_ADV = 1e-3


CHOSEN = "chosen"
"""Selects the layout that a run would choose; other values name a layout."""


def measure(case: Case, *, unified: bool, layout: str, steps: int, device: str = "cpu") -> Result:
    """Times and gradient norms of updates; the first, a warm-up, also measures the norm of each term if `unified`.

    Args:
        case: the replayed rollouts.
        unified: whether to include all three terms; otherwise only L_GRPO.
        layout: see `CHOSEN`.
        steps: number of measured steps.
        device: `cpu` or `cuda`.
    """
    policy = load_policy(ModelSource(path=str(MODEL)), torch.device(device))
    if layout == CHOSEN:
        policy, obstacle = with_layout(policy)
        assert obstacle is None, obstacle
    else:
        policy = replace(policy, layout=Layout(layout))  # type: ignore[arg-type]
    weights = {"alpha": ALPHA, "lambda_adv": LAMBDA_ADV} if unified else {"alpha": 0.0, "lambda_adv": 0.0}
    spec = JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], **weights})
    learner, clock, metrics = Learner(policy, spec), Steps(device), []
    for step in range(1 + steps):
        sequences = sampled(policy, rollouts(case, compared=unified))
        if unified:
            sequences.append(Sequence(case.prompt_ids, case.reference_ids, demonstration=True))
        with clock.one():
            metrics.append(learner.update(sequences, step, measure_terms=unified and step == 0))
    terms = {name: metrics[0][f"uniapl/grad_norm_{name}"] for name in ("sft", "grpo") if unified}
    return clock.result(grad_norms=[m["grad_norm"] for m in metrics], terms=terms)


def rollouts(case: Case, *, compared: bool) -> list[Sequence]:
    """The group with advantages, and with adversarial coefficients if `compared`."""
    (advantages,) = group_advantages(torch.tensor([case.rewards]), scale=True).tolist()
    draw = random.Random(2)
    return [
        Sequence(case.prompt_ids, ids, advantage=advantage, coef=draw.gauss(0, 1) if compared else None)
        for ids, advantage in zip(case.completions, advantages, strict=True)
    ]


@torch.no_grad()
def sampled(policy: Policy, sequences: list[Sequence]) -> list[Sequence]:
    """The sequences with the policy's current log-probabilities, so that all importance ratios are 1, as in TRL."""
    found = {}
    for packed in pack(sequences, 4096, policy.pad_id, policy.device, policy.layout):
        with precision(policy.device):
            logprobs, _ = completion_logprobs(policy.model, packed, temperature=1.0)
        rows = zip(packed.batch.completion_ids, packed.batch.completion_mask, logprobs, strict=True)
        found |= {tuple(ids[mask].tolist()): row[mask].tolist() for ids, mask, row in rows}
    return [replace(s, old_logprobs=found[tuple(s.completion_ids)]) for s in sequences]


if __name__ == "__main__":
    kind, layout, counted, device, *described = sys.argv[1:]
    keep_freed_memory()  # as `python -m uniapl train` does
    case = Case.parse(*described)
    found = measure(case, unified=kind == "unified", layout=layout, steps=int(counted), device=device)
    print(json.dumps(found))
