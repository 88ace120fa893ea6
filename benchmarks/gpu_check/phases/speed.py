"""Step time, model FLOP utilisation (MFU), memory against the estimate, and the kernels of an update.

One eighth of a step of 64 prompts: groups of a prompt of 1024 tokens with 8 rollouts and a demonstration of 2048 tokens
each, on Qwen3's shapes with random weights.
"""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu_check import models
from benchmarks.gpu_check.figures import Expected, Value
from benchmarks.gpu_check.flops import Group, mfu, useful
from benchmarks.gpu_check.kernels import shares, watch
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.road import cuda_road, synchronize
from uniapl.batching.batch import Sequence
from uniapl.estimate import plan
from uniapl.estimate.workload import Entry, RowLengths, Sample
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.layout_check import with_layout
from uniapl.spec.estimate import Bytes
from uniapl.spec.job import JobSpec
from uniapl.training.learner import Learner

PROMPT, ANSWER, GROUP_SIZE = 1024, 2048, 8
CONTEXT_GB = 0.5
"""Memory of the driver's context, which torch's allocator does not count."""
WHOLE_GROUP = 20_480
"""Tokens of a micro-batch that holds a group of this workload."""


@dataclass(frozen=True)
class Case:
    """One model with its options, and the reference figures on an H200."""

    name: str
    config: models.Config
    groups: int
    resources: dict[str, Any]
    seconds: float
    """Expected seconds of an update on an H200 (arithmetic)."""


WHOLE = {"micro_batch_tokens": WHOLE_GROUP, "gradient_checkpointing": True}
CASES = (
    Case("0.6B, micro-batches of 4096", models.QWEN3_06B, 8, {"micro_batch_tokens": 4096}, 5.6),
    Case("0.6B, whole groups", models.QWEN3_06B, 8, WHOLE, 5.3),
    Case("0.6B, whole groups, compiled", models.QWEN3_06B, 8, WHOLE | {"compile_blocks": True}, 3.4),
    Case("4B, whole groups", models.QWEN3_4B, 1, WHOLE, 2.2),
)
TINY = Case(
    "tiny, whole groups", models.QWEN3_06B | models.TINY | {"num_attention_heads": 4, "num_key_value_heads": 2}, 1,
    {"micro_batch_tokens": 1024, "gradient_checkpointing": True}, 0.0,
)  # fmt: skip


def run(report: Report) -> None:
    """Measure each case; the last of Qwen3-0.6B with its kernels."""
    if report.is_short:
        with cuda_road("cpu"):
            measure(report, TINY, [Group(64, (40,) * (1 + GROUP_SIZE))], profiled=True)
        report.unchecked("time, MFU and memory of an update: no GPU")
        return
    for case in CASES:
        if (reason := obstacle_of(case)) is not None:
            report.unchecked(f"{case.name}: {reason}")
            continue
        groups = [Group(PROMPT, (ANSWER,) * (1 + GROUP_SIZE))] * case.groups
        measure(report, case, groups, profiled=case.config is models.QWEN3_06B)
        gc.collect()
        torch.cuda.empty_cache()


def obstacle_of(case: Case) -> str | None:
    """Why this machine cannot run a case; `None` if it can."""
    if "compile_blocks" in case.resources and shutil.which("gcc") is None and shutil.which("cc") is None:
        return "no C compiler"
    least, total = estimate(case).low / 1e9, torch.cuda.mem_get_info()[1] / 1e9
    return None if least <= total else f"it needs at least {least:.0f} GB, and the card has {total:.0f} GB"


def measure(report: Report, case: Case, groups: Seq[Group], *, profiled: bool) -> None:
    """A first update, which is the warm-up, a timed one, one that measures all terms, and one under the profiler.

    The third has the peak of the memory: AdamW's moments and a gradient per term.
    """
    learner, vocabulary = learner_of(report, case)
    first = timed(report, learner, models.step_of(groups[:1], vocabulary, 0), 0)
    seconds = timed(report, learner, models.step_of(groups, vocabulary, 1), 1)
    figures, expected = speed(report, case, groups, seconds)
    report.figures(case.name, {"first update s": first, **figures}, expected)
    timed(report, learner, models.step_of(groups[:2], vocabulary, 2), 2, measure_terms=True)
    if report.device == "cuda":
        report_memory(report, case)
    if profiled:
        with watch(report.device) as seen:
            timed(report, learner, models.step_of(groups[:1], vocabulary, 3), 3)
        report.figures(f"{case.name}, kernels of one group", shares(seen, report.device))


def learner_of(report: Report, case: Case) -> tuple[Learner, int]:
    """A learner as the trainer makes it, and its vocabulary."""
    if report.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    policy = models.random_policy(case.config, report.device)
    spec = spec_of(case)
    wrap_blocks(policy.model, spec.resources)
    policy, obstacle = with_layout(policy)
    report.figures(case.name, {"falls back": float(obstacle is not None), "reason": obstacle or "none"})
    return Learner(policy, spec), int(case.config["vocab_size"])


def spec_of(case: Case) -> JobSpec:
    """The job of a case; its sampler is a server, so that the trainer's memory holds no key-value cache."""
    return models.spec_of(
        resources=case.resources,
        data={"max_prompt_tokens": PROMPT, "max_reference_tokens": ANSWER},
        rollout={"max_new_tokens": ANSWER, "backend": {"type": "vllm"}},
        grpo={"group_size": GROUP_SIZE},
        schedule={"prompts_per_step": case.groups, "steps": 200},
    )


def timed(
    report: Report, learner: Learner, sequences: list[Sequence], step: int, *, measure_terms: bool = False
) -> float:
    """Seconds of one update."""
    synchronize(report.device)
    started = time.perf_counter()
    learner.update(sequences, step, measure_terms=measure_terms)
    synchronize(report.device)
    return time.perf_counter() - started


def speed(
    report: Report, case: Case, groups: Seq[Group], seconds: float
) -> tuple[dict[str, Value], dict[str, Expected]]:
    """Time, tokens per second and MFU; the time is compared on the card for which it was computed."""
    flop = useful(models.shape_of(case.config), groups)
    found: dict[str, Value] = {"s": seconds, "distinct tokens/s": sum(group.tokens for group in groups) / seconds}
    found["useful PFLOP"] = flop / 1e15
    if report.device == "cpu":
        return found, {}
    card = torch.cuda.get_device_name()
    share = mfu(flop, seconds, card)
    found["MFU"] = "unknown card" if share is None else share
    slow = Expected(
        most=1.3 * case.seconds, red_above=2 * case.seconds, means="twice as slow: read the kernels' shares"
    )
    return found, {"s": slow} if "H200" in card else {}


def report_memory(report: Report, case: Case) -> None:
    """The measured peak, and the estimate's range for this spec."""
    total = estimate(case)
    low, expected, high = (size / 1e9 for size in (total.low, total.expected, total.high))
    peak = torch.cuda.max_memory_reserved() / 1e9 + CONTEXT_GB
    outside = Expected(low, high, means="the estimate of this job's memory is wrong: jobs are refused or run out of it")
    allocated = torch.cuda.max_memory_allocated() / 1e9
    report.figures(
        f"{case.name}, memory",
        {"GB": peak, "allocated GB": allocated, "estimate GB": expected},
        {"GB": outside},
    )


def estimate(case: Case) -> Bytes:
    """Memory of the case's job by the estimate."""
    entries = [Entry("both", case.groups, Sample([RowLengths(PROMPT, ANSWER)], looked_at=1, share=1.0))]
    shapes = plan.Models(models.shape_of(case.config), None)
    return plan.memory(spec_of(case), shapes, entries, "gpu").total
