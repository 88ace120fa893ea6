"""Step time, model FLOP utilisation (MFU), memory against the estimate, and the kernels of an update.

One eighth of a step of 64 prompts: groups of a prompt of 1024 tokens with 8 rollouts and a demonstration of 2048 tokens
each, on Qwen3's shapes with random weights.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu_check import models
from benchmarks.gpu_check.activations import one_pack, saved_bytes
from benchmarks.gpu_check.figures import Expected, Value
from benchmarks.gpu_check.flops import Group, mfu, useful
from benchmarks.gpu_check.kernels import shares, watch
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.road import cuda_road, synchronize
from uniapl.batching.batch import Sequence
from uniapl.estimate import plan
from uniapl.estimate.activations import per_token
from uniapl.estimate.resources import ChosenResources, GpuRoom
from uniapl.estimate.workload import Entry, RowLengths, Sample
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.kernels import kernels_for
from uniapl.model.layout_check import with_layout
from uniapl.spec.estimate import Bytes
from uniapl.spec.job import JobSpec
from uniapl.training.device_resources import has_compiler
from uniapl.training.host_moments import HostMoments
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


PLAIN = {"gradient_checkpointing": False, "compile_blocks": False}
WHOLE = {"micro_batch_tokens": WHOLE_GROUP, "gradient_checkpointing": True, "compile_blocks": False}
CASES = (
    Case("0.6B, micro-batches of 4096", models.QWEN3_06B, 8, PLAIN | {"micro_batch_tokens": 4096}, 5.6),
    Case("0.6B, whole groups", models.QWEN3_06B, 8, WHOLE, 5.3),
    Case("0.6B, chosen resources", models.QWEN3_06B, 8, {}, 3.4),
    Case("4B, whole groups", models.QWEN3_4B, 1, WHOLE, 2.2),
    Case("4B, chosen resources", models.QWEN3_4B, 1, {}, 1.8),
)
"""The seconds of chosen resources apply where blocks are compiled."""
TINY = models.QWEN3_06B | models.TINY | {"num_attention_heads": 4, "num_key_value_heads": 2}
TINY_CASES = (
    Case("tiny, whole groups", TINY, 1, WHOLE | {"micro_batch_tokens": 1024}, 0.0),
    Case("tiny, chosen resources", TINY, 1, {}, 0.0),
)
EMULATED_MEMORY = 1e9
"""Memory of the emulated card, in bytes."""
COUNTED = {"cuda": models.QWEN3_SMALL, "cpu": models.QWEN3_SMALL | {
    "vocab_size": 97, "hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64,
}}  # fmt: skip
"""Qwen3-0.6B's proportions, for the count of activations."""


def run(report: Report) -> None:
    """Count activations, then measure each case; those of Qwen3-0.6B with their kernels."""
    with cuda_road(report.device):
        count_activations(report)
    if report.is_short:
        with cuda_road("cpu"):
            for case in TINY_CASES:
                measure(report, case, [Group(64, (40,) * (1 + GROUP_SIZE))], profiled=case is TINY_CASES[0])
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


def count_activations(report: Report) -> None:
    """Bytes that a layer keeps for its backward, the difference between four layers and two, and the estimate's."""
    counts = []
    for layers in (2, 4):
        policy = models.random_policy(COUNTED[report.device] | {"num_hidden_layers": layers}, report.device, "blocks")
        packed = one_pack(policy.device)
        counts.append(saved_bytes(policy.model, packed) / packed.input_ids.numel())
    found = (counts[1] - counts[0]) / 2
    formula = per_token(models.shape_of(COUNTED[report.device] | {"num_hidden_layers": 1}), device="gpu")
    report.figures("activations of a layer", {"bytes per token": found, "over the estimate": found / formula})


def obstacle_of(case: Case) -> str | None:
    """Why this machine cannot run a case; `None` if it can."""
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
    if not case.resources and case.config is not models.QWEN3_4B:  # page-locking 32 GB takes a while
        offload(report, case, learner)
    if profiled:
        with watch(report.device) as seen:
            timed(report, learner, models.step_of(groups[:1], vocabulary, 3), 3)
        report.figures(f"{case.name}, kernels of one group", shares(seen, report.device))


def offload(report: Report, case: Case, learner: Learner) -> None:
    """Move AdamW's moments to host memory and back, twice: the first time allocates the host's buffers."""
    states = list(learner.optimizer.state.values())
    before, size = (
        [state["exp_avg_sq"].clone() for state in states],
        8 * sum(state["exp_avg"].numel() for state in states),
    )
    moments, (out_s, freed, back_s) = HostMoments(learner.optimizer), (0.0, 0.0, 0.0)
    for _ in range(2):
        allocated, started = allocated_bytes(report), time.perf_counter()
        moments.offload()
        out_s, freed, started = time.perf_counter() - started, allocated - allocated_bytes(report), time.perf_counter()
        moments.restore()
        synchronize(report.device)
        back_s = time.perf_counter() - started
    same = all(torch.equal(a, state["exp_avg_sq"]) for a, state in zip(before, states, strict=True))
    figures = {
        "moments out s": out_s,
        "moments back s": back_s,
        "moments freed": freed / size,
        "moments same": float(same),
    }
    report.figures(f"{case.name}, offloaded", {**figures, "moments GB": size / 1e9})


def allocated_bytes(report: Report) -> int:
    """Memory of tensors on the card; 0 without one."""
    return 0 if report.device == "cpu" else torch.cuda.memory_allocated()


def learner_of(report: Report, case: Case) -> tuple[Learner, int]:
    """A learner as the trainer makes it, and its vocabulary."""
    if report.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    policy = models.random_policy(case.config, report.device)
    spec, chosen = spec_of(case), chosen_for(report, case)
    wrap_blocks(policy.model, chosen)
    policy, obstacle = with_layout(policy)
    options = {name: float(value) for name, value in vars(chosen).items()}
    options["logits at a time"] = float(kernels_for(policy.device).chunk_logits)
    report.figures(case.name, {**options, "falls back": float(not policy.layout.shares), "reason": obstacle or "none"})
    return Learner(policy, spec, micro_batch_tokens=chosen.micro_batch_tokens), int(case.config["vocab_size"])


def chosen_for(report: Report, case: Case) -> ChosenResources:
    """The values that the trainer uses on this card, with all of its memory."""
    memory = EMULATED_MEMORY if report.is_short else torch.cuda.mem_get_info()[1]
    shapes = plan.Models(models.shape_of(case.config), None)
    return plan.resources(spec_of(case), shapes, GpuRoom(memory), compiler=has_compiler())


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
    room = GpuRoom(torch.cuda.mem_get_info()[1])
    return plan.memory(spec_of(case), shapes, entries, "gpu", room).total
