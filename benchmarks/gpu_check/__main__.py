"""Check of the GPU code on one card, below ten minutes (`make gpu-check`); without a GPU its short form on the CPU.

Figures are printed as they are measured and appended to `result.jsonl` in the output folder, with the phases' standard
error in `log`. The exit status is 1 if a figure is a red flag. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks.gpu_check.report import Device
from benchmarks.gpu_check.runner import Check, Phase, summary

PHASES = "benchmarks.gpu_check.phases"


def _phase(name: str, cuda_s: float, cpu_s: float) -> Phase:
    return Phase(name, f"{PHASES}.{name}", cuda_s, cpu_s)


STAGES = (
    (_phase("environment", 40, 120),),
    (_phase("gradients", 120, 200), _phase("first_steps", 120, 300)),
    (_phase("speed", 200, 240),),
    (_phase("sampling", 90, 200),),
    (_phase("learning", 90, 200), _phase("three_terms", 90, 240)),
    (_phase("out_of_memory", 60, 200),),
    (_phase("vllm_sampler", 240, 400),),
    (_phase("other_card", 240, 120),),
)
"""Phases side by side measure no speed; those that do are alone on the device."""
SHORT_STAGES = (
    STAGES[0],
    tuple(sorted((phase for stage in STAGES[1:] for phase in stage), key=lambda phase: -phase.cpu_s)),
)
"""The same phases for two cores, which measure no speed: the longest first."""
BUDGET_S: dict[Device, float] = {"cuda": 570.0, "cpu": 900.0}
"""Seconds for all phases; the short form takes two minutes, and several times as long beside other work."""


def main() -> int:
    """Run the phases and print the summary; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/gpu-check"), help="folder of the results")
    parser.add_argument(
        "--budget", type=float, help=f"seconds for all phases; by default {BUDGET_S['cuda']:.0f} on a GPU"
    )
    names = [phase.name for stage in STAGES for phase in stage]
    parser.add_argument("--phase", nargs="+", choices=names, help="phases to run; by default all")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="by default the GPU if torch can use one")
    parser.add_argument("--models", type=Path, default=Path("data/models"), help="folder of the bundled models")
    options = parser.parse_args()
    started = time.monotonic()
    device: Device = options.device or usable_device()
    prepare_environment(device)
    check = Check(options.out, device, options.models.absolute(), options.budget or BUDGET_S[device])
    stages = STAGES if device == "cuda" else SHORT_STAGES
    check.run([[phase for phase in stage if phase.name in (options.phase or names)] for stage in stages])
    text, red_flags = summary(check.results)
    print(f"\n{text}\n{red_flags} red flags on {device} in {time.monotonic() - started:.0f} s; see {check.results}")
    return 1 if red_flags else 0


def prepare_environment(device: Device) -> None:
    """Settings of all phases: no access to a model hub, memory that grows by segments, on a CPU a thread per phase."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if device == "cpu":
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")


def usable_device() -> Device:
    """`cuda` if torch can use a GPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    sys.exit(main())
