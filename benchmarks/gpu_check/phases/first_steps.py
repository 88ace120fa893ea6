"""First updates as the trainer makes them: all terms measured, with and without recomputed and compiled blocks.

`python -m benchmarks.gpu_check.phases.first_steps --unfixed DEVICE` runs the control: the same update with torch's
default for saved buffers, which must fail.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from unittest.mock import patch

import torch
import torch._functorch.config

from benchmarks.gpu_check import models
from benchmarks.gpu_check.flops import Group
from benchmarks.gpu_check.report import Device, Report
from benchmarks.gpu_check.road import cuda_road, graphs, limit_hits, synchronize
from uniapl.model import attention, block_wrappers
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.layout_check import with_layout
from uniapl.training.learner import Learner, Metrics

VARIANTS: dict[str, dict[str, bool]] = {
    "plain": {},
    "recomputed": {"gradient_checkpointing": True},
    "recomputed and compiled": {"gradient_checkpointing": True, "compile_blocks": True},
    "compiled": {"compile_blocks": True},
}
SHORT = ("plain", "recomputed and compiled")
"""Variants of the short form."""
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
CONTROL_S = 60
"""Seconds for the control."""


def run(report: Report) -> None:
    """Train each variant on the same sequences, and compare losses and gradient norms with the first."""
    control = start_control(report.device)
    try:
        steps = 3 if report.is_short else 12
        with limit_hits() as hits:
            found = {name: train(report, name, steps) for name in (SHORT if report.is_short else VARIANTS)}
        for name in found:
            report.figures(name, apart(found[name], found["plain"]))
        report.figures("compiler", {"limit hits": float(hits.count)})
        report.figures("control", {"fails": float(fails(control))})
    finally:
        control.kill()
    if report.is_short:
        report.unchecked("time of the first step and of compiling; kernels that Inductor and Triton generate")


def train(report: Report, variant: str, steps: int) -> list[Metrics]:
    """Metrics of the updates of one variant, and the time of the first."""
    before, metrics, seconds = graphs(), [], []
    with cuda_road(report.device):
        learner, vocabulary = learner_of(report.device, variant)
        for step in range(steps):
            started = time.monotonic()
            metrics.append(update(learner, vocabulary, step))
            synchronize(report.device)
            seconds.append(time.monotonic() - started)
    report.figures(variant, {"first step s": seconds[0], "last step s": seconds[-1], "graphs": graphs() - before})
    return metrics


def learner_of(device: Device, variant: str) -> tuple[Learner, int]:
    """A learner as the trainer makes it, layout check included, and its vocabulary."""
    config = models.QWEN3_SMALL | (models.TINY | SMALL if device == "cpu" else {})
    policy = models.random_policy(config, device, spread=0.05)
    spec = models.spec_of(resources={"micro_batch_tokens": 1024, **VARIANTS[variant]})
    wrap_blocks(policy.model, spec.resources)
    policy, obstacle = with_layout(policy)
    if not policy.layout.shares:
        raise RuntimeError(f"the shared layout is refused: {obstacle}")
    return Learner(policy, spec), int(config["vocab_size"])


def update(learner: Learner, vocabulary: int, step: int) -> Metrics:
    """One update; every other one measures the terms, and lengths differ between updates."""
    groups = [Group(20 + 37 * step, (30, 100 + 9 * step, 45)), Group(5, (60, 3 + step, 128))]
    return learner.update(models.step_of(groups, vocabulary, step), step, measure_terms=step % 2 == 0)


def apart(metrics: list[Metrics], expected: list[Metrics]) -> dict[str, float]:
    """Largest differences from the first variant, relative for norms, and whether all numbers are finite."""
    pairs = list(zip(metrics, expected, strict=True))
    return {
        "loss difference": max(abs(a["loss"] - b["loss"]) for a, b in pairs),
        "norm difference": max(abs(a["grad_norm"] / b["grad_norm"] - 1) for a, b in pairs),
        "finite": float(all(math.isfinite(value) for found in metrics for value in found.values())),
    }


def start_control(device: Device) -> subprocess.Popen[str]:
    """Start the update without the fix."""
    command = [sys.executable, "-m", "benchmarks.gpu_check.phases.first_steps", "--unfixed", device]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def fails(control: subprocess.Popen[str]) -> bool:
    """Whether the control fails for the expected reason."""
    output, _ = control.communicate(timeout=CONTROL_S)
    return control.returncode != 0 and "donated buffers" in output


def unfixed(device: Device) -> None:
    """One measured update with torch's default, in which the first backward overwrites saved activations."""
    with (
        cuda_road(device),
        torch._functorch.config.patch(donated_buffer=True),
        patch.object(attention, "keep_buffers", lambda: None),
        patch.object(block_wrappers, "keep_buffers", lambda: None),
    ):
        update(*learner_of(device, "plain"), 0)


if __name__ == "__main__":
    unfixed("cuda" if sys.argv[2] == "cuda" else "cpu")
