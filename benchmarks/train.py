"""One update of SmolLM2-135M on replayed rollouts with TRL's GRPOTrainer and with UniAPL (`make bench-train`).

Prompts of 24, 96 and 400 random tokens, groups of 4 and 8, completions of 45 tokens on average, equally long or from
14 to 86. Full fine-tuning, including AdamW, in float32; on a GPU (`--device cuda`) under bfloat16 autocast. TRL runs
with its fastest micro-batch size, determined first for each prompt length. Each measurement is a fresh process, in the
order A B B A. The output is a table and one JSON line; there is no output of speeds if the gradient norms differ in
any step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.fresh import Result, add_device, alternate, child, conditions, median, require_agreement_of_runs
from benchmarks.our_side import CHOSEN
from benchmarks.replay import Case

TRL = Path(".venv-trl/bin/python")
PROMPTS, GROUPS, LENGTHS = (24, 96, 400), (4, 8), ("equal", "spread")
MICRO_BATCHES = (1, 2, 4, 8)
KINDS = ("trl", "ours")


def trl(case: Case, options: argparse.Namespace, micro_batch: int, *, kind: str = "grpo", steps: int = 0) -> Result:
    """Measure TRL in a child process."""
    counted = steps or options.steps
    where = {"threads": options.threads, "python": TRL}
    return child("benchmarks.trl_side", kind, micro_batch, counted, options.device, *case.arguments, **where)


def ours(case: Case, options: argparse.Namespace, *, kind: str = "grpo", layout: str = CHOSEN) -> Result:
    """Measure UniAPL in a child process."""
    described = (kind, layout, options.steps, options.device, *case.arguments)
    return child("benchmarks.our_side", *described, threads=options.threads)


def fastest_micro_batch(prompt: int, options: argparse.Namespace) -> int:
    """TRL's fastest micro-batch size on the largest group with different lengths, from one step each."""
    if options.micro_batch:
        return int(options.micro_batch)
    case = Case(prompt, max(options.groups), "spread")
    sizes = [size for size in MICRO_BATCHES if size <= case.group]
    seconds = {size: median([trl(case, options, size, steps=1)], "wall_s") for size in sizes}
    times = ", ".join(f"{size}: {s:.1f} s" for size, s in seconds.items())
    print(f"TRL, prompt of {prompt} tokens, seconds by micro-batch size: {times}", file=sys.stderr, flush=True)
    return min(seconds, key=lambda size: seconds[size])


def cases(options: argparse.Namespace) -> Iterator[tuple[Case, int]]:
    """All cases, each with TRL's fastest micro-batch size."""
    for prompt in options.prompts:
        micro_batch = fastest_micro_batch(prompt, options)
        for group, lengths in itertools.product(options.groups, options.lengths):
            yield Case(prompt, group, lengths), micro_batch


def compare(case: Case, options: argparse.Namespace, micro_batch: int) -> dict[str, Any]:
    """Measure both sides in the order A B B A."""
    sides = {"trl": lambda: trl(case, options, micro_batch), "ours": lambda: ours(case, options)}
    runs = alternate(KINDS, lambda kind: sides[kind]())
    difference = require_agreement_of_runs(runs, str(case), options.device)
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
    """Command line of the comparisons with TRL."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--prompts", type=int, nargs="+", default=PROMPTS, help="prompt lengths in tokens")
    found.add_argument("--groups", type=int, nargs="+", default=GROUPS, choices=GROUPS, help="group sizes")
    found.add_argument("--lengths", nargs="+", default=LENGTHS, choices=LENGTHS, help="completion lengths")
    found.add_argument("--steps", type=int, default=3, help="measured updates per process, after the warm-up")
    found.add_argument("--threads", type=int, default=2, help="torch threads")
    add_device(found)
    found.add_argument("--micro-batch", type=int, help="TRL's micro-batch size in sequences; by default the fastest")
    return found


def main() -> None:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    setup = conditions(options.threads)
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
    print(json.dumps({"benchmark": "train", **setup, "rows": rows}))


if __name__ == "__main__":
    main()
