"""`make bench-train`: one update of SmolLM2-135M on replayed rollouts, by TRL's GRPOTrainer and by ours.

Prompts of 24, 96 and 400 random tokens, groups of 4 and 8, completions of 45 tokens on average, all equally long or
spread from 14 to 86. Float32, all weights trained, AdamW included. TRL runs with the micro-batch that is fastest for
each prompt length, found out first. Each measurement is a fresh process, in the order A B B A. Prints a table and one
JSON line; refuses to print a speed where the gradients' norms differ in any step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.fresh import Result, alternate, child, conditions, median, require_agreement_of_runs
from benchmarks.our_side import CHOSEN
from benchmarks.replay import Case

TRL = Path(".venv-trl/bin/python")
PROMPTS, GROUPS, LENGTHS = (24, 96, 400), (4, 8), ("equal", "spread")
MICRO_BATCHES = (1, 2, 4, 8)
KINDS = ("trl", "ours")


def trl(case: Case, options: argparse.Namespace, micro_batch: int, *, kind: str = "grpo", steps: int = 0) -> Result:
    """TRL's side in a process of its own."""
    counted = steps or options.steps
    where = {"threads": options.threads, "python": TRL}
    return child("benchmarks.trl_side", kind, micro_batch, counted, *case.arguments, **where)


def ours(case: Case, options: argparse.Namespace, *, kind: str = "grpo", layout: str = CHOSEN) -> Result:
    """Our side in a process of its own."""
    return child("benchmarks.our_side", kind, layout, options.steps, *case.arguments, threads=options.threads)


def fastest_micro_batch(prompt: int, options: argparse.Namespace) -> int:
    """The one with which TRL is fastest on the larger group of spread completions, by one step each."""
    if options.micro_batch:
        return int(options.micro_batch)
    case = Case(prompt, max(options.groups), "spread")
    sizes = [size for size in MICRO_BATCHES if size <= case.group]
    seconds = {size: median([trl(case, options, size, steps=1)], "wall_s") for size in sizes}
    told = ", ".join(f"{size}: {s:.1f} s" for size, s in seconds.items())
    print(f"TRL at a prompt of {prompt}, by sequences per micro-batch: {told}", file=sys.stderr, flush=True)
    return min(seconds, key=lambda size: seconds[size])


def cases(options: argparse.Namespace) -> Iterator[tuple[Case, int]]:
    """What is to be compared, each with TRL's fastest micro-batch for its prompt."""
    for prompt in options.prompts:
        micro_batch = fastest_micro_batch(prompt, options)
        for group, lengths in itertools.product(options.groups, options.lengths):
            yield Case(prompt, group, lengths), micro_batch


def compare(case: Case, options: argparse.Namespace, micro_batch: int) -> dict[str, Any]:
    """Both sides, in the order A B B A."""
    sides = {"trl": lambda: trl(case, options, micro_batch), "ours": lambda: ours(case, options)}
    runs = alternate(KINDS, lambda kind: sides[kind]())
    difference = require_agreement_of_runs(runs, str(case))
    wall = {kind: median(runs[kind], "wall_s") for kind in KINDS}
    return {
        "prompt": case.prompt,
        "group": case.group,
        "lengths": case.lengths,
        "tokens": case.num_tokens,
        "micro_batch": min(micro_batch, case.group),
        "tokens_per_s": {kind: case.num_tokens / wall[kind] for kind in KINDS},
        "wall_s": {kind: [s for run in runs[kind] for s in run["wall_s"]] for kind in KINDS},
        "cpu_s": {kind: median(runs[kind], "cpu_s") for kind in KINDS},
        "rss_gb": {kind: max(run["rss"] for run in runs[kind]) / 2**30 for kind in KINDS},
        "ratio": wall["trl"] / wall["ours"],
        "grad_norm": runs["ours"][0]["grad_norms"][0],
        "grad_norm_difference": difference,
    }


def parser(description: str | None) -> argparse.ArgumentParser:
    """What the comparisons with TRL are told on the command line."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--prompts", type=int, nargs="+", default=PROMPTS, help="their lengths in tokens")
    found.add_argument("--groups", type=int, nargs="+", default=GROUPS, choices=GROUPS, help="completions of a prompt")
    found.add_argument("--lengths", nargs="+", default=LENGTHS, choices=LENGTHS, help="of the completions")
    found.add_argument("--steps", type=int, default=3, help="updates measured in each process, after one that is not")
    found.add_argument("--threads", type=int, default=2, help="that torch computes with")
    found.add_argument("--micro-batch", type=int, help="sequences of TRL's; by default the fastest is found out")
    return found


def main() -> None:
    """Measure, print the table and the JSON line."""
    options = parser(__doc__).parse_args()
    told = conditions(options.threads)
    print(
        f"{'':26} {'useful tokens/s':^22} {'CPU-seconds':^13} {'peak RSS, GB':^17}\n"
        f"{'prompt':>6} {'G':>2} {'lengths':>7} {'tokens':>8} {'TRL':>7} {'ours':>7} {'ratio':>6} "
        f"{'TRL':>6} {'ours':>6} {'TRL':>5} {'ours':>5} {'ratio':>5} {'gradients':>9}"
    )
    rows = []
    for case, micro_batch in cases(options):
        row = compare(case, options, micro_batch)
        rows.append(row)
        speed, cpu, rss = row["tokens_per_s"], row["cpu_s"], row["rss_gb"]
        print(
            f"{case.prompt:6} {case.group:2} {case.lengths:>7} {row['tokens']:8} {speed['trl']:7.1f} "
            f"{speed['ours']:7.1f} {row['ratio']:5.2f}x {cpu['trl']:6.1f} {cpu['ours']:6.1f} {rss['trl']:5.2f} "
            f"{rss['ours']:5.2f} {rss['ours'] / rss['trl']:5.2f} {row['grad_norm_difference']:9.0e}",
            flush=True,
        )
    print(json.dumps({"benchmark": "train", **told, "rows": rows}))


if __name__ == "__main__":
    main()
