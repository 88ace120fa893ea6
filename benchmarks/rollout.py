"""Sampling with SmolLM2-135M (`make bench-rollout`): transformers' `generate`, continuous batching, and UniAPL.

Groups of 8 completions of 28 to 172 tokens, 90 on average, for 2 or 4 prompts of 96 random tokens; temperature 1,
float32, on a GPU (`--device cuda`) under bfloat16 autocast. UniAPL also returns the log-probabilities of the tokens.
Each measurement is a fresh process, in the order A B C C B A. The output is a table and one JSON line; there is no
output of speeds if the sides sampled different numbers of tokens, or if the log-probabilities differ from those of the
training forward pass.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from typing import Any

import torch

from benchmarks import samplers
from benchmarks.fresh import MODEL, Result, Steps, add_device, alternate, child, conditions, median
from benchmarks.replay import LENGTHS
from uniapl.batching.batch import Sequence
from uniapl.batching.packed import pack
from uniapl.model.cpu.linear import Linear
from uniapl.model.logprobs import completion_logprobs, precision
from uniapl.model.policy import Policy, load_policy
from uniapl.rollout.generator import Completion
from uniapl.run.config import ModelSource

KINDS = ("generate", "continuous", "ours")
PROMPT, GROUP = 96, 8
TOLERANCES = {"cpu": 1e-3, "cuda": 0.5}
"""Maximum difference between the log-probabilities of sampling and training by device, in nats."""


def measure(kind: str, device: str, sequences: int, steps: int, longest: int) -> Result:
    """Sampling times in this process, after one warm-up round."""
    policy = load_policy(ModelSource(path=str(MODEL)), torch.device(device))
    if kind != "ours":
        as_loaded_by_transformers(policy)
    samplers.force_lengths(policy)
    draw = random.Random(0)
    prompts = [[draw.randrange(1000, 40_000) for _ in range(PROMPT)] for _ in range(sequences // GROUP)]
    lengths = [min(2 * length, longest) for length in LENGTHS[GROUP]] * len(prompts)
    clock, sampled, difference = Steps(device), 0, 0.0
    for step in range(1 + steps):
        groups: list[list[Completion]] = []
        with clock.one():
            if kind == "ours":
                groups = samplers.ours(policy, prompts, lengths)
            else:
                with precision(policy.device):
                    sampled = getattr(samplers, kind)(policy, prompts, lengths)
        if groups and not step:
            sampled = sum(len(c.ids) for group in groups for c in group)
            difference = disagreement(policy, prompts, groups)
    return clock.result(tokens=sampled, expected=sum(lengths), difference=difference)


def as_loaded_by_transformers(policy: Policy) -> None:
    """Restore the original linear layers."""
    for module in policy.model.modules():
        if type(module) is Linear:
            module.__class__ = torch.nn.Linear


@torch.no_grad()
def disagreement(policy: Policy, prompts: list[list[int]], groups: list[list[Completion]]) -> float:
    """Maximum difference in nats between the log-probabilities of sampling and training, without the forced end
    token."""
    pairs = zip(prompts, groups, strict=True)
    sequences = [Sequence(p, c.ids[:-1], old_logprobs=c.logprobs[:-1]) for p, group in pairs for c in group]
    worst = 0.0
    for packed in pack(sequences, 4096, policy.pad_id, policy.device, policy.layout):
        with precision(policy.device):
            logprobs, _ = completion_logprobs(policy.model, packed, temperature=1.0)
        difference = (logprobs - packed.batch.old_logprobs)[packed.batch.completion_mask]
        worst = max(worst, difference.abs().max().item())
    return worst


def compare(sequences: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all sides in the order A B C C B A."""
    described = (options.device, sequences, options.steps, options.longest)
    runs = alternate(
        KINDS, lambda kind: child("benchmarks.rollout", "--child", kind, *described, threads=options.threads)
    )
    difference = max(run["difference"] for run in runs["ours"])
    if not difference <= TOLERANCES[options.device]:
        sys.exit(f"the log-probabilities differ by {difference:.2g} nats, so the speeds are not comparable")
    sampled = {run["tokens"] for kind in KINDS for run in runs[kind]} | {runs["ours"][0]["expected"]}
    if len(sampled) > 1:
        sys.exit(f"the sides sampled different numbers of tokens, so the speeds are not comparable: {sampled}")
    tokens = sampled.pop()
    return {
        "sequences": sequences,
        "tokens": tokens,
        "tokens_per_s": {kind: tokens / median(runs[kind], "wall_s") for kind in KINDS},
        "wall_s": {kind: [s for run in runs[kind] for s in run["wall_s"]] for kind in KINDS},
        "cpu_s": {kind: median(runs[kind], "cpu_s") for kind in KINDS},
        "rss_gb": {kind: max(run["rss"] for run in runs[kind]) / 2**30 for kind in KINDS},
        "ratio": median(runs["generate"], "wall_s") / median(runs["ours"], "wall_s"),
        "logprob_difference": difference,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sequences", type=int, nargs="+", default=(16, 32), help="sequences per batch, in groups of 8"
    )
    parser.add_argument("--steps", type=int, default=2, help="measured rounds per process, after the warm-up")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--longest", type=int, default=172, help="maximum completion length")
    add_device(parser)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, device, *described = options.child
        print(json.dumps(measure(kind, device, *map(int, described))))
        return
    setup = conditions(options.threads)
    print(f"{'sequences':>9} {'tokens':>6} {'generate':>9} {'continuous':>10} {'ours':>9} {'ratio':>6}   tokens/s")
    rows = []
    for sequences in options.sequences:
        row = compare(sequences, options)
        rows.append(row)
        speed = row["tokens_per_s"]
        print(
            f"{sequences:9} {row['tokens']:6} {speed['generate']:9.1f} {speed['continuous']:10.1f} "
            f"{speed['ours']:9.1f} {row['ratio']:5.2f}x",
            flush=True,
        )
    print(json.dumps({"benchmark": "rollout", **setup, "rows": rows}))


if __name__ == "__main__":
    main()
