"""`make bench-packs`: one update of SmolLM2-135M on one group, the prompt shared and not shared.

One group of 8 random completions (14 to 86 tokens, 45 on average) after a prompt of 24, 96 and 400 tokens, with and
without the teacher's answer of 60. Each measurement is a fresh process of one thread, in the order A B B A. Prints a
table and one JSON line; refuses to print a speed where the gradients' norms differ.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import time
from dataclasses import replace
from typing import Any

from benchmarks.fresh import MODEL, alternate, child, require_agreement
from benchmarks.replay import LENGTHS, REFERENCE

PROMPTS = (24, 96, 400)
KINDS = ("plain", "trees")


def measure(kind: str, prompt: int, *, reference: bool, steps: int) -> dict[str, Any]:
    """CPU-seconds of updates in this process, after one that is not counted."""
    import torch

    from uniapl.allocator import keep_freed_memory
    from uniapl.batch import Sequence
    from uniapl.learner import Learner
    from uniapl.packing import Layout
    from uniapl.policy import load_policy
    from uniapl.spec.job import JobSpec
    from uniapl.spec.run import ModelSource

    keep_freed_memory()
    torch.set_num_threads(1)
    policy = load_policy(ModelSource(path=str(MODEL)), torch.device("cpu"))
    policy = replace(policy, layout=Layout(kind))  # type: ignore[arg-type]
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    draw = random.Random(0)

    def ids(length: int) -> list[int]:
        return [draw.randrange(1000, 40_000) for _ in range(length)]

    question = ids(prompt)
    sequences = [
        Sequence(question, ids(n), advantage=draw.gauss(0, 1), coef=draw.gauss(0, 1), old_logprobs=[-10.0] * n)
        for n in LENGTHS[8]
    ]
    sequences += [Sequence(question, ids(REFERENCE), demonstration=True)] * reference
    spec = JobSpec.model_validate(
        {"student": "s", "dataset_mix": [{"dataset": "d"}], "alpha": 0.1 * reference, "lambda_adv": 1e-3}
    )
    learner, seconds, norms = Learner(policy, spec), [], []
    for step in range(1 + steps):
        started = time.process_time()
        norms.append(learner.update(sequences, step, measure_terms=False)["grad_norm"])
        seconds.append(time.process_time() - started)
    return {
        "seconds": seconds[1:],
        "grad_norm": norms[0],
        "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "loaded_gb": loaded / 2**20,
        "tokens": sum(s.num_tokens for s in sequences),
    }


def compare(prompt: int, *, reference: bool, steps: int) -> dict[str, Any]:
    """Both layouts, in the order A B B A."""
    described = (prompt, int(reference), steps)
    runs = alternate(KINDS, lambda kind: child("benchmarks.packs", "--child", kind, *described, threads=1))
    norms = {kind: runs[kind][0]["grad_norm"] for kind in KINDS}
    require_agreement({kind: [norm] for kind, norm in norms.items()}, f"a prompt of {prompt}")
    seconds = {kind: statistics.median(s for run in runs[kind] for s in run["seconds"]) for kind in KINDS}
    return {
        "prompt": prompt,
        "reference": reference,
        "tokens": runs["plain"][0]["tokens"],
        "cpu_s": seconds,
        "ratio": seconds["plain"] / seconds["trees"],
        "rss_gb": {kind: max(run["rss_gb"] for run in runs[kind]) for kind in KINDS},
        "grad_norm": norms,
    }


def main() -> None:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2, help="updates measured in each process")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, prompt, reference, steps = options.child
        print(json.dumps(measure(kind, int(prompt), reference=reference == "1", steps=int(steps))))
        return
    print(f"{'prompt':>6} {'teacher':>7} {'tokens':>6} {'plain':>7} {'shared':>7} {'ratio':>6} {'RSS':>11}")
    rows = []
    for prompt in PROMPTS:
        for reference in (False, True):
            row = compare(prompt, reference=reference, steps=options.steps)
            rows.append(row)
            cpu, rss = row["cpu_s"], row["rss_gb"]
            print(
                f"{prompt:6} {'yes' if reference else 'no':>7} {row['tokens']:6} {cpu['plain']:6.1f}s "
                f"{cpu['trees']:6.1f}s {row['ratio']:5.2f}x {rss['plain']:.1f}/{rss['trees']:.1f} GB",
                flush=True,
            )
    print(json.dumps({"benchmark": "packs", "rows": rows}))


if __name__ == "__main__":
    main()
