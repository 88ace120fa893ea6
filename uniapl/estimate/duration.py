"""How long a step will take where nothing like it has run: rough, from a few rates (docs/estimate.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from uniapl.estimate.model_shape import ModelShape, ShapeUnknown
from uniapl.estimate.workload import Step
from uniapl.spec.backend import InProcess
from uniapl.spec.estimate import Hardware, TimeEstimate
from uniapl.spec.job import JobSpec

UPDATE, SAMPLE = 6, 2
"""Operations per parameter and token: forward and backward; a forward."""
CORE = (50e9, 10e9)
"""Operations a second of a processor, for updates and for sampling, which waits for memory. Measured with
SmolLM2-135M on two cores (docs/benchmarks): 48 to 240 and 8 to 13, of which the slow ends are taken."""
MOST_CORES = 8
"""More cores count as this number: sampling does not scale with them. Not measured."""
GPU = (60e12, 1.5e12)
"""The same of a GPU, whichever it is: assumed, not measured."""
HOUR_S = 3600.0
"""A job that takes longer is warned of."""


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
        basis = f"measured on {measured.steps} steps of jobs like it, by tokens"
        return TimeEstimate(step_s=step_s, total_s=step_s * spec.schedule.steps, basis=basis)
    if not hardware:
        return _unknown("no worker is alive")
    if spec.uses_rollouts and not isinstance(spec.rollout.backend, InProcess):
        return _unknown("no job like it has run on the workers that are alive, and a server samples")
    try:
        step_s, basis = rough_step_s(read_student(), step, hardware)
    except ShapeUnknown as unknown:
        return _unknown(f"no job like it has run on the workers that are alive, and {unknown}")
    return TimeEstimate(step_s=step_s, total_s=step_s * spec.schedule.steps, basis=basis, rough=True)


def slow_warnings(spec: JobSpec, time: TimeEstimate) -> list[str]:
    """A warning where a job takes more than an hour."""
    if time.total_s is None or time.total_s <= HOUR_S:
        return []
    lower = ["schedule.steps", "schedule.prompts_per_step"]
    lower += ["grpo.group_size", "rollout.max_new_tokens"] if spec.uses_rollouts else []
    hours = f"{time.total_s / HOUR_S:,.1f} hours"
    return [f"this spec needs about {hours} on the live workers ({time.basis}); to shorten it lower {', '.join(lower)}"]


def _unknown(why: str) -> TimeEstimate:
    return TimeEstimate(step_s=None, total_s=None, basis=f"unknown: {why}")


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
