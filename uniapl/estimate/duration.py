"""The duration of a job: from comparable jobs, else from the measured or typical rates of a box (docs/estimate.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from uniapl.estimate.decoding import sampling_s
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
    """Seconds of a step per token of its updates; with several updates each token counts several times."""
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
    steps, updates = spec.schedule.steps, spec.grpo.updates_per_rollout if step.rollouts else 1
    if measured is not None:
        step_s = measured.token_s * step.tokens * updates
        basis = f"history: measured on {measured.steps} steps of comparable jobs, per token"
        return TimeEstimate(step_s=step_s, total_s=step_s * steps, basis=basis, source="history")
    if not hardware:
        return _unknown("no worker is alive")
    served = spec.uses_rollouts and isinstance(spec.rollout.backend, VllmSampler)
    try:
        student = read_student()
    except ShapeUnknown as unknown:
        return _unknown(f"no comparable job has run on the live workers, and {unknown}")
    times = [(_step_s(student, step, machine, served=served, updates=updates), machine) for machine in hardware]
    known = [(seconds, machine) for seconds, machine in times if seconds is not None]
    if not known:
        return _unknown("no comparable job has run on the live workers, and a server samples")
    fastest, machine = min(known, key=lambda each: each[0])
    return TimeEstimate(
        step_s=fastest,
        total_s=fastest * steps,
        basis=_basis(machine),
        source="arithmetic" if machine.speed is None else "measured_on_this_box",
        rough=True,
    )


def slow_warnings(spec: JobSpec, time: TimeEstimate) -> list[str]:
    """A warning where a job takes more than an hour."""
    if time.total_s is None or time.total_s <= HOUR_S:
        return []
    lower = ["schedule.steps", "schedule.prompts_per_step"]
    lower += ["grpo.group_size", "rollout.max_new_tokens"] if spec.uses_rollouts else []
    hours = f"{time.total_s / HOUR_S:,.1f} hours"
    return [f"the job takes about {hours} on the live workers ({time.basis}); to shorten it, lower {', '.join(lower)}"]


def unmeasured_batches(spec: JobSpec, time: TimeEstimate) -> list[str]:
    """A sentence where a duration that is not from history leaves out batches that dynamic sampling may add."""
    if time.source in ("history", None) or not (most := spec.grpo.extra_batches) or not spec.uses_grpo:
        return []
    return [f"up to {most} further batches of rollouts a step (grpo.extra_batches) are not included in the time"]


def _unknown(why: str) -> TimeEstimate:
    return TimeEstimate(step_s=None, total_s=None, basis=f"unknown: {why}")


def _step_s(student: ModelShape, step: Step, machine: Hardware, *, served: bool, updates: int) -> float | None:
    """Seconds of a step on a machine; `None` where the speed of its sampling server is unknown.

    Discriminators and rewards are not counted.

    Args:
        student: the model that is trained.
        step: what a step holds.
        machine: the machine.
        served: whether a vLLM server samples instead of the trainer's process.
        updates: updates on the sequences of a step.
    """
    update, sample = _rates(machine)
    sampled = step.each * sum(rollout.completion for rollout in step.rollouts)
    update_s = student.parameters * UPDATE * updates * step.tokens / update
    if not served:
        return update_s + student.parameters * SAMPLE * sampled / sample
    sampling = _served_s(student, step, machine)
    return None if sampling is None else update_s + sampling


def _rates(machine: Hardware) -> tuple[float, float]:
    """Operations per second of updates and of sampling in the trainer's process."""
    if (speed := machine.speed) is not None:
        return UPDATE * speed.parameters * speed.update, SAMPLE * speed.parameters * speed.sampling
    if machine.gpus:
        return GPU
    cores = min(machine.cpus, MOST_CORES)
    return CORE[0] * cores, CORE[1] * cores


def _served_s(student: ModelShape, step: Step, machine: Hardware) -> float | None:
    """Seconds of sampling by vLLM, from the measured bandwidth of a GPU's memory."""
    if not machine.gpus or machine.speed is None or machine.speed.memory is None or machine.vllm is None:
        return None
    if (count := len(step.rollouts)) == 0:
        return 0.0
    return sampling_s(
        student,
        max(gpu.memory_bytes for gpu in machine.gpus),
        machine.speed.memory,
        sequences=step.each * count,
        prompt=sum(rollout.prompt for rollout in step.rollouts) / count,
        answer=sum(rollout.completion for rollout in step.rollouts) / count,
    )


def _basis(machine: Hardware) -> str:
    if machine.speed is not None:
        size = f"{machine.speed.parameters / 1e6:,.0f} million parameters"
        return f"rough: measured on this box, with a model of {size} and random weights, and scaled by size"
    if machine.gpus:
        return "rough: arithmetic with assumed rates of a GPU, not measured; accurate to a factor of 5"
    return (
        f"rough: arithmetic with rates measured with SmolLM2-135M, on {machine.cpus} cores; accurate to a factor of 3"
    )
