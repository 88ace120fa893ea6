"""Time profile of one update of SmolLM2-135M by PyTorch operators (`make bench-profile`).

The UniAPL side of `make bench-train`: a group of 8 completions of different lengths, L_GRPO alone, the fourth update of
a process. The output is a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.fresh import MODEL, add_device, conditions
from benchmarks.gpu_check.kernels import kind_of
from benchmarks.our_side import rollouts, sampled
from benchmarks.replay import Case
from uniapl.model.cpu.malloc import keep_freed_memory
from uniapl.model.layout_check import with_layout
from uniapl.model.policy import load_policy
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec
from uniapl.training.learner import Learner

PARTS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::addmm_", "mkldnn::_linear_pointwise"),
    "attention": (
        "aten::bmm", "aten::_softmax", "aten::_softmax_backward_data", "_TreeAttention", "_TreeAttentionBackward",
    ),
    "softmax over the vocabulary": (
        "aten::_log_softmax", "aten::exp", "aten::div_", "aten::gather", "aten::scatter_add_",
    ),
    "activation functions": ("aten::silu", "aten::silu_backward"),
    "gradient's norm and AdamW": ("aten::linalg_vector_norm", "aten::_fused_adamw_", "aten::_foreach_norm"),
}  # fmt: skip
"""Operators by purpose; all others count as `other`: norms, rotary embeddings, sums, copies, Python."""
WARM = 3


def measure(prompt: int, device: str) -> dict[str, float]:
    """Seconds of one update by part."""
    policy, obstacle = with_layout(load_policy(ModelSource(path=str(MODEL)), torch.device(device)))
    assert obstacle is None, obstacle
    spec = JobSpec.model_validate({"student": "s", "dataset_mix": [{"dataset": "d"}], "alpha": 0.0, "lambda_adv": 0.0})
    learner, case = Learner(policy, spec), Case(prompt, 8, "spread")
    for step in range(WARM):
        learner.update(sampled(policy, rollouts(case, compared=False)), step, measure_terms=False)
    sequences = sampled(policy, rollouts(case, compared=False))
    with profile(activities=[ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU]) as seen:
        learner.update(sequences, WARM, measure_terms=False)
    return by_part(seen.key_averages(), device)


def by_part(operators: Any, device: str) -> dict[str, float]:
    """Seconds by part, in descending order: operators on a CPU, kernels by their kind on a GPU."""
    part_of = {name: part for part, names in PARTS.items() for name in names}
    seconds: Counter[str] = Counter()
    for operator in operators:
        if device == "cuda":
            seconds[kind_of(operator.key)] += operator.self_device_time_total / 1e6
        else:
            seconds[part_of.get(operator.key, "other")] += operator.self_cpu_time_total / 1e6
    return dict(seconds.most_common())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, nargs="+", default=(96, 400), help="prompt lengths in tokens")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    add_device(parser)
    options = parser.parse_args()
    setup = conditions(options.threads)
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    found = {prompt: measure(prompt, options.device) for prompt in options.prompts}
    print("| part | " + " | ".join(f"prompt {prompt}" for prompt in found) + " |\n|---|" + "---:|" * len(found))
    totals = {prompt: sum(parts.values()) for prompt, parts in found.items()}
    for part in next(iter(found.values())):
        shares = (f"{parts.get(part, 0.0):.2f} s, {parts.get(part, 0.0) / totals[p]:.0%}" for p, parts in found.items())
        print(f"| {part} | " + " | ".join(shares) + " |")
    print("| total | " + " | ".join(f"{total:.2f} s" for total in totals.values()) + " |")
    print(json.dumps({"benchmark": "profile", **setup, "seconds": found}))


if __name__ == "__main__":
    main()
