"""Learning: a run with a verified reward reaches the reference's rewards.

The bundled tiny model must write 14 letters e in 16 tokens, from a reward alone. On a CPU with seed 0 and a learning
rate of 0.002 the mean rewards by 20 steps are .18 .17 .19 .26 .32 .43 .56 .64 .97 1.0; with 0.01, as in the short form,
they are .18 .23 .49 .99 by 10 steps.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.trainer_runs import train

STEPS = {"cuda": 200, "cpu": 40}
RATE = {"cuda": 2e-3, "cpu": 1e-2}


def run(report: Report) -> None:
    """Train, and report the mean reward of the first and the last steps."""
    steps = STEPS[report.device]
    with tempfile.TemporaryDirectory() as folder:
        found = train(Path(folder), report.models, report.device, _spec(report), "letters.jsonl:rl")
    part = steps // 10
    report.figures(
        f"{steps} steps",
        {
            "exit status": float(found.status),
            "reward at first": found.mean("reward", 1, part),
            "reward in the middle": found.mean("reward", steps // 2, steps // 2 + part),
            "reward at last": found.mean("reward", steps - part + 1, steps),
            "step s": found.mean("step_time", part + 1, steps),
            "log": "" if found.status == 0 else found.log,
        },
    )
    if report.is_short:
        report.unchecked("learning on a GPU; the reference's learning rate with its 200 steps")


def _spec(report: Report) -> dict[str, Any]:
    return {
        "alpha": 0.0,
        "lambda_adv": 0.0,
        "grpo": {"group_size": 8},
        "rollout": {"max_new_tokens": 16},
        "optimizer": {"learning_rate": RATE[report.device]},
        "schedule": {"steps": STEPS[report.device], "prompts_per_step": 4, "checkpoint_every": 1000},
        "reward": {"processes": 1},
        "seed": 0,
    }
