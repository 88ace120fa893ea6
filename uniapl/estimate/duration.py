"""The duration of a job: measured on comparable jobs, else roughly computed from a few rates (docs/estimate.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from uniapl.estimate.model_shape import ModelShape, ShapeUnknown
from uniapl.estimate.workload import Step
from uniapl.spec.backend import VllmSampler
from uniapl.spec.estimate import Hardware, TimeEstimate
from uniapl.spec.job import JobSpec

UPDATE, SAMPLE = 6, 2
"""Operations per parameter and token: forward and backward; a forward."""
CORE = (50e9, 10e9)
"""Operations per second of a CPU core, for updates and for sampling, which is limited by memory bandwidth. Measured
with SmolLM2-135M on two cores (docs/benchmarks): 48e9 to 240e9 and 8e9 to 13e9; the slow ends are used."""
MOST_CORES = 8
"""Cores beyond this number are not counted, since sampling does not scale with them. Not measured."""
GPU = (60e12, 1.5e12)
"""The same for any GPU: assumed, not measured."""
HOUR_S = 3600.0
"""A longer job gets a warning."""


@dataclass(frozen=True)
class MeasuredRate:
    """Speed of earlier steps of comparable jobs on the workers that are alive."""

    token_s: float
    """Seconds per token of a step."""
    completion_tokens: float | None
    """Mean length of a sampled answer; None where no answer was sampled."""
    steps: int
    """Steps that the rate was measured on."""


def duration(
    spec: JobSpec,
    step: Step,
    read_student: Callable[[], ModelShape],
    hardware: Sequence[Hardware],
    measured: MeasuredRate | None,
) -> TimeEstimate:
    """The duration of a job: measured where comparable jobs have run, else rough or unknown.

    Args:
        spec: the job.
        step: what a usual step holds.
        read_student: returns the shape of the model that is trained; may raise `ShapeUnknown`.
        hardware: the workers that are alive.
        measured: the rate of comparable jobs, where there is one.
    """
    if measured is not None:
        step_s = measured.token_s * step.tokens
        basis = f"measured on {measured.steps} steps of comparable jobs, per token"
        return TimeEstimate(step_s=step_s, total_s=step_s * spec.schedule.steps, basis=basis)
    if not hardware:
        return _unknown("no worker is alive")
    if spec.uses_rollouts and isinstance(spec.rollout.backend, VllmSampler):
        return _unknown("no comparable job has run on the live workers, and a server samples")
    try:
        step_s, basis = rough_step_s(read_student(), step, hardware, spec.grpo.updates_per_rollout)
    except ShapeUnknown as unknown:
        return _unknown(f"no comparable job has run on the live workers, and {unknown}")
    return TimeEstimate(step_s=step_s, total_s=step_s * spec.schedule.steps, basis=basis, rough=True)


def slow_warnings(spec: JobSpec, time: TimeEstimate) -> list[str]:
    """A warning where a job takes more than an hour."""
    if time.total_s is None or time.total_s <= HOUR_S:
        return []
    lower = ["schedule.steps", "schedule.prompts_per_step"]
    lower += ["grpo.group_size", "rollout.max_new_tokens"] if spec.uses_rollouts else []
    hours = f"{time.total_s / HOUR_S:,.1f} hours"
    return [f"the job takes about {hours} on the live workers ({time.basis}); to shorten it, lower {', '.join(lower)}"]


def _unknown(why: str) -> TimeEstimate:
    return TimeEstimate(step_s=None, total_s=None, basis=f"unknown: {why}")


def rough_step_s(student: ModelShape, step: Step, hardware: Sequence[Hardware], updates: int = 1) -> tuple[float, str]:
    """Seconds of a step on the fastest of at least one machine, and the basis of this number.

    Sampling is counted as this trainer does it, in its own process; discriminators and rewards are not counted.

    Args:
        student: the model that is trained.
        step: what a step holds.
        hardware: the machines.
        updates: updates on the sequences of a step with rollouts.
    """
    updates = updates if step.rollouts else 1
    sampled = step.each * sum(rollout.completion for rollout in step.rollouts)

    def seconds(machine: Hardware) -> float:
        update, sample = GPU if machine.gpus else (rate * min(machine.cpus, MOST_CORES) for rate in CORE)
        return student.parameters * (UPDATE * updates * step.tokens / update + SAMPLE * sampled / sample)

    fastest = min(hardware, key=seconds)
    return seconds(fastest), _basis(fastest)


def _basis(machine: Hardware) -> str:
    if machine.gpus:
        return "rough: assumed rates of a GPU, not measured; accurate to a factor of 5"
    return f"rough: rates measured with SmolLM2-135M, on {machine.cpus} cores; accurate to a factor of 3"
