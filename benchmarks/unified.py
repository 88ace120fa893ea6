"""A UniAPL step with all three terms compared with an SFT step plus a GRPO step of TRL (`make bench-unified`).

The cases of `make bench-train`, with a teacher's answer of 60 tokens per prompt. TRL's SFTTrainer takes a step on the
answer and TRL's GRPOTrainer one on the group; UniAPL takes one step on both, including L_ADV. There is no output of
speeds if the gradient norms of L_SFT or L_GRPO differ from TRL's.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks.fresh import alternate, conditions, median, require_agreement
from benchmarks.our_side import ALPHA
from benchmarks.replay import Case
from benchmarks.train import cases, ours, parser, trl

KINDS = ("sft", "grpo", "unified")


def compare(case: Case, options: argparse.Namespace, micro_batch: int) -> dict[str, Any]:
    """Measure the three kinds in the order A B C C B A."""
    sides = {
        "sft": lambda: trl(case, options, 1, kind="sft"),
        "grpo": lambda: trl(case, options, micro_batch),
        "unified": lambda: ours(case, options, kind="unified"),
    }
    runs = alternate(KINDS, lambda kind: sides[kind]())
    differences = {}
    for term, weight in (("sft", ALPHA), ("grpo", 1 - ALPHA)):  # first step only, where all sides have the same weights
        norms = {f"TRL {i}": [weight * run["grad_norms"][0]] for i, run in enumerate(runs[term])}
        norms |= {f"ours {i}": [run["terms"][term]] for i, run in enumerate(runs["unified"])}
        differences[term] = require_agreement(norms, f"{case}, {term}", options.device)
    wall = {kind: median(runs[kind], "wall_s") for kind in KINDS}
    cpu = {kind: median(runs[kind], "cpu_s") for kind in KINDS}
    return {
        "prompt": case.prompt,
        "group": case.group,
        "lengths": case.lengths,
        "micro_batch": min(micro_batch, case.group),
        "wall_s": wall,
        "cpu_s": cpu,
        "rss_gb": {kind: max(run["rss"] for run in runs[kind]) / 2**30 for kind in KINDS},
        "share": wall["unified"] / (wall["sft"] + wall["grpo"]),
        "grad_norm_difference": differences,
    }


def main() -> None:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    setup = conditions(options.threads)
    print(f"{'prompt':>6} {'G':>2} {'lengths':>7} {'TRL SFT':>8} {'TRL GRPO':>9} {'unified':>8} {'share':>6}")
    rows = []
    for case, micro_batch in cases(options):
        row = compare(case, options, micro_batch)
        rows.append(row)
        wall = row["wall_s"]
        print(
            f"{case.prompt:6} {case.group:2} {case.lengths:>7} {wall['sft']:7.1f}s {wall['grpo']:8.1f}s "
            f"{wall['unified']:7.1f}s {row['share']:6.2f}",
            flush=True,
        )
    print(json.dumps({"benchmark": "unified", **setup, "rows": rows}))


if __name__ == "__main__":
    main()
