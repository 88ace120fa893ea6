"""Inputs of the estimate (shapes of models, lengths of rows) and the quantities computed from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from uniapl.estimate.activations import Device
from uniapl.estimate.memory import peak, resting, update_peak
from uniapl.estimate.model_shape import ModelShape
from uniapl.estimate.resources import ChosenResources, GpuRoom, choose
from uniapl.estimate.tokens import count
from uniapl.estimate.workload import Entry, Level, RowLengths, Sample, Step, step_of
from uniapl.run.config import ModelSource
from uniapl.spec.estimate import Bytes, MemoryEstimate, RoleEstimate
from uniapl.spec.job import JobSpec, Role
from uniapl.spec.requirements import uses_references

LEVELS: tuple[Level, ...] = ("low", "expected", "high")
ROLES: tuple[Role, ...] = ("sft", "rl", "both")


@dataclass(frozen=True)
class Models:
    """The shapes of the models of a job."""

    student: ModelShape
    judge: ModelShape | None
    """The discriminator's; `None` where the trainer loads none."""


def read_models(
    spec: JobSpec, source_of: Callable[[str], ModelSource], read: Callable[[ModelSource], ModelShape]
) -> Models:
    """The shapes of the models that the trainer loads.

    Raises:
        ShapeUnknown: by `read`.
    """
    judge = spec.discriminator.model or spec.student
    return Models(read(source_of(spec.student)), read(source_of(judge)) if spec.loads_discriminator else None)


def read_entries(spec: JobSpec, student: ModelSource, files: Sequence[tuple[Path, int]]) -> list[Entry]:
    """The rows of the mix.

    Args:
        spec: the job.
        student: the model whose tokenizer counts tokens.
        files: file and number of rows of each entry's dataset.
    """
    entries = []
    for given, (path, rows) in zip(spec.dataset_mix, files, strict=True):
        imitated = spec.uses_sft and given.role in ("sft", "both")
        references = uses_references(spec, given.role)
        sample = count(path, student, spec.data, references=references, imitated=imitated)
        entries.append(Entry(given.role, rows, sample))
    return entries


def longest(spec: JobSpec) -> list[Entry]:
    """The rows of the mix, if each were as long as `data` allows."""
    row = RowLengths(spec.data.max_prompt_tokens, spec.data.max_reference_tokens)
    return [Entry(given.role, 1, Sample([row], looked_at=1, share=1.0)) for given in spec.dataset_mix]


def resources(
    spec: JobSpec, models: Models, room: GpuRoom | None, *, blocks: bool = True, compiler: bool = False
) -> ChosenResources:
    """The resources that the trainer uses: `choose`, with the longest rows that `data` allows.

    They depend on no row, so a worker, the trainer and the estimate agree.
    """
    step = step_of(spec, longest(spec), "high")

    def need(chosen: ChosenResources) -> float:
        return update_peak(spec, chosen, models.student, models.judge, step)

    return choose(spec, room, need, blocks=blocks, compiler=compiler)


def memory(
    spec: JobSpec, models: Models, entries: Sequence[Entry], device: Device, room: GpuRoom | None = None
) -> MemoryEstimate:
    """Memory of the run on a CPU or a GPU; without `room` the GPU's memory is not limited."""
    chosen = _chosen(spec, models, device, room)
    peaks = {
        level: peak(spec, chosen, models.student, models.judge, step_of(spec, entries, level), level, device)
        for level in LEVELS
    }
    parts = {
        name: Bytes(**{level: round(parts[name]) for level, (parts, _) in peaks.items()})
        for name, size in peaks["high"][0].items()
        if size
    }
    return MemoryEstimate(device=device, parts=parts, total=Bytes(**{k: round(size) for k, (_, size) in peaks.items()}))


def least(spec: JobSpec, models: Models, entries: Sequence[Entry], device: Device, room: GpuRoom | None = None) -> int:
    """Lowest memory of the run in bytes: `memory(…).total.low`."""
    chosen = _chosen(spec, models, device, room)
    return round(peak(spec, chosen, models.student, models.judge, step_of(spec, entries, "low"), "low", device)[1])


def resting_memory(spec: JobSpec, models: Models) -> Bytes:
    """Memory of its GPU that the trainer holds while a server on it samples."""
    return Bytes(**{level: round(resting(spec, models.student, models.judge, level)) for level in LEVELS})


def _chosen(spec: JobSpec, models: Models, device: Device, room: GpuRoom | None) -> ChosenResources:
    return resources(spec, models, (room or GpuRoom(inf)) if device == "gpu" else None)


def usual_step(spec: JobSpec, entries: Sequence[Entry], answer: float | None) -> Step:
    """A step with usual rows; its completions have `answer` tokens, or as many as allowed."""
    return step_of(spec, entries, "low", round(answer or spec.rollout.max_new_tokens))


def roles(spec: JobSpec, entries: Sequence[Entry]) -> list[RoleEstimate]:
    """Rows and tokens by role; those of a large dataset are projected from a sample."""
    return [_role(spec, role, entries) for role in ROLES if any(entry.role == role for entry in entries)]


def _role(spec: JobSpec, role: Role, entries: Sequence[Entry]) -> RoleEstimate:
    of_role = [entry for entry in entries if entry.role == role]
    weights = [given.weight for given in spec.dataset_mix if given.role == role]
    share = sum(weights) / sum(given.weight for given in spec.dataset_mix)
    drawn = share * spec.schedule.steps * spec.schedule.prompts_per_step
    rows = sum(entry.rows for entry in of_role)
    used = sum(entry.rows * len(entry.sample.lengths) / max(entry.sample.looked_at, 1) for entry in of_role)

    def projected(tokens: Callable[[RowLengths], int]) -> int:
        sums = (sum(map(tokens, entry.sample.lengths)) / entry.sample.share for entry in of_role if entry.sample.share)
        return round(sum(sums))

    return RoleEstimate(
        role=role,
        rows=rows,
        prompt_tokens=projected(lambda row: row.prompt),
        reference_tokens=projected(lambda row: row.imitated),
        passes=drawn / used if used else 0.0,
        left_out=1 - used / rows,
    )
