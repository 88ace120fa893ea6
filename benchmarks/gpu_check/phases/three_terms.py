"""All three terms with a learned discriminator, and resumption from a checkpoint."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.trainer_runs import Finished, train
from uniapl.training.checkpoint import FOLDER

STEPS = {"cuda": 40, "cpu": 8}


def run(report: Report) -> None:
    """Train without an interruption, and in two halves."""
    steps = STEPS[report.device]
    with tempfile.TemporaryDirectory() as folder:
        whole = _train(report, Path(folder) / "whole", steps)
        resumed = in_halves(report, Path(folder) / "halves", steps)
    report.figures(
        f"{steps} steps",
        {
            "exit status": float(whole.status),
            "loss_sft at first": whole.mean("uniapl/loss_sft", 1, min(10, steps // 2)),
            "loss_sft at last": whole.mean("uniapl/loss_sft", steps, steps),
            "terms measured": float(len([name for name in whole.steps[0] if name.startswith("uniapl/grad_norm_")])),
            "step s": whole.mean("step_time", 2, steps),
            "log": "" if whole.status == 0 else whole.log,
        },
    )
    apart = abs(resumed.mean("loss", 1, steps - steps // 2) - whole.mean("loss", steps // 2 + 1, steps))
    values = {"exit status": float(resumed.status), "loss difference": apart}
    report.figures("resumed", {**values, "log": "" if resumed.status == 0 else resumed.log})
    if report.is_short:
        report.unchecked("the terms on a GPU; 40 steps of them")


def in_halves(report: Report, folder: Path, steps: int) -> Finished:
    """The second half, resumed from the checkpoint of the first."""
    half = steps // 2
    first = _train(report, folder / "first", half)
    checkpoints = sorted((folder / "first" / FOLDER).iterdir()) if first.status == 0 else []
    return _train(report, folder / "second", steps, checkpoints[-1]) if checkpoints else first


def _train(report: Report, folder: Path, steps: int, resume: Path | None = None) -> Finished:
    return train(folder, report.models, report.device, _spec(steps), "answers.jsonl:both", resume)


def _spec(steps: int) -> dict[str, Any]:
    return {
        "alpha": 0.1,
        "lambda_adv": 0.001,
        "discriminator": {"type": "learned", "batch_size": 1, "warmup_steps": 0},
        "grpo": {"group_size": 4},
        "rollout": {"max_new_tokens": 16},
        "optimizer": {"learning_rate": 2e-3},
        "schedule": {"steps": steps, "prompts_per_step": 4, "checkpoint_every": 1000},
        "reward": {"processes": 1},
        "seed": 0,
    }
