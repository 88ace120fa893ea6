"""How long a step will take where nothing like it has run: rough, from a few rates (docs/estimate.md)."""

from __future__ import annotations

from collections.abc import Sequence

from uniapl.estimate.model_shape import ModelShape
from uniapl.estimate.workload import Step
from uniapl.spec.estimate import Hardware

UPDATE, SAMPLE = 6, 2
"""Operations per parameter and token: forward and backward; a forward."""
CORE = (50e9, 10e9)
"""Operations a second of a processor, for updates and for sampling, which waits for memory. Measured with
SmolLM2-135M on two cores (docs/benchmarks): 48 to 240 and 8 to 13, of which the slow ends are taken."""
MOST_CORES = 8
"""More cores count as this number: sampling does not scale with them. Not measured."""
GPU = (60e12, 1.5e12)
"""The same of a GPU, whichever it is: assumed, not measured."""


def rough_step_s(student: ModelShape, step: Step, hardware: Sequence[Hardware]) -> tuple[float, str]:
    """Seconds of a step on the fastest of some machines, at least one, and what that rests on.

    Sampling is counted as this trainer does it, in its own process; discriminators and rewards are not counted.

    Args:
        student: the model that is trained.
        step: what a step holds.
        hardware: the machines.
    """
    sampled = step.each * sum(rollout.completion for rollout in step.rollouts)

    def seconds(machine: Hardware) -> float:
        update, sample = GPU if machine.gpus else (rate * min(machine.cpus, MOST_CORES) for rate in CORE)
        return student.parameters * (UPDATE * step.tokens / update + SAMPLE * sampled / sample)

    fastest = min(hardware, key=seconds)
    return seconds(fastest), _basis(fastest)


def _basis(machine: Hardware) -> str:
    if machine.gpus:
        return "rough: by assumed rates of a GPU, which are not measured; may be wrong by a factor of 5"
    return f"rough: by rates measured with SmolLM2-135M, for {machine.cpus} cores; may be wrong by a factor of 3"
