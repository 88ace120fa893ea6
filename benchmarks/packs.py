"""One update of SmolLM2-135M on one group with and without a shared prompt (`make bench-packs`).

A group of 8 completions of different lengths for prompts of 24, 96 and 400 tokens, with L_GRPO alone and with all three
terms. Each measurement is a fresh process, in the order A B B A. The output is a table and one JSON line; there is no
output of speeds if the gradient norms differ in any step.
"""

from __future__ import annotations

import argparse
import itertools
import json
from typing import Any

from benchmarks.fresh import add_device, alternate, conditions, median, require_agreement_of_runs
from benchmarks.replay import Case
from benchmarks.train import PROMPTS, ours

LAYOUTS = {"cpu": ("plain", "trees"), "cuda": ("plain", "blocks")}
"""The layouts without and with shared prompts, by device."""
KINDS = ("grpo", "unified")


def compare(case: Case, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure both layouts in the order A B B A."""
    layouts = LAYOUTS[options.device]
    runs = alternate(layouts, lambda layout: ours(case, options, kind=kind, layout=layout))
    difference = require_agreement_of_runs(runs, f"{case}, {kind}", options.device)
    wall = {layout: median(runs[layout], "wall_s") for layout in layouts}
    return {
        "prompt": case.prompt,
        "kind": kind,
        "tokens": case.num_tokens,
        "wall_s": wall,
        "ratio": wall["plain"] / wall[layouts[1]],
        "rss_gb": {layout: max(run["rss"] for run in runs[layout]) / 2**30 for layout in layouts},
        "grad_norm_difference": difference,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, nargs="+", default=PROMPTS, help="prompt lengths in tokens")
    parser.add_argument("--steps", type=int, default=2, help="measured updates per process, after the warm-up")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    add_device(parser)
    options = parser.parse_args()
    setup = conditions(options.threads)
    print("| prompt | terms | plain | shared | ratio | peak RSS, plain / shared | difference of gradient norms |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    rows = []
    for prompt, kind in itertools.product(options.prompts, KINDS):
        row = compare(Case(prompt, 8, "spread"), kind, options)
        rows.append(row)
        wall, rss, shared = row["wall_s"], row["rss_gb"], LAYOUTS[options.device][1]
        print(
            f"| {prompt} | {kind} | {wall['plain']:.1f} s | {wall[shared]:.1f} s | **{row['ratio']:.2f}** | "
            f"{rss['plain']:.2f} / {rss[shared]:.2f} GB | {row['grad_norm_difference']:.0e} |",
            flush=True,
        )
    print(json.dumps({"benchmark": "packs", **setup, "rows": rows}))


if __name__ == "__main__":
    main()
