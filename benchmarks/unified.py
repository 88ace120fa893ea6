"""`make bench-unified`: our step with all three terms, against an SFT step and a GRPO step of TRL.

The cases of `make bench-train`, with the teacher's answer of 60 tokens for each prompt: TRL's SFTTrainer takes a step
on it and TRL's GRPOTrainer one on the group; ours takes one step on both, and on the group's comparison with the
teacher. Refuses to print a speed where the norms of L_SFT's and L_GRPO's gradients differ from TRL's.
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
    """TRL's two steps and ours, in the order A B C C B A."""
    sides = {
        "sft": lambda: trl(case, options, 1, kind="sft"),
        "grpo": lambda: trl(case, options, micro_batch),
        "unified": lambda: ours(case, options, kind="unified"),
    }
    runs = alternate(KINDS, lambda kind: sides[kind]())
    differences = {}
    for term, weight in (("sft", ALPHA), ("grpo", 1 - ALPHA)):  # of the first step, whose weights are the same for all
        norms = {f"TRL {i}": [weight * run["grad_norms"][0]] for i, run in enumerate(runs[term])}
        norms |= {f"ours {i}": [run["terms"][term]] for i, run in enumerate(runs["unified"])}
        differences[term] = require_agreement(norms, f"{case}, {term}")
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
    """Measure, print the table and the JSON line."""
    options = parser(__doc__).parse_args()
    told = conditions(options.threads)
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
    print(json.dumps({"benchmark": "unified", **told, "rows": rows}))


if __name__ == "__main__":
    main()
