"""A job before it runs: its rows, its models' shapes, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from uniapl.estimate.memory import Device, peak
from uniapl.estimate.shape import Shape
from uniapl.estimate.tokens import count
from uniapl.estimate.workload import Entry, Level, Step, step_of
from uniapl.spec.estimate import Bytes, MemoryEstimate, RoleEstimate
from uniapl.spec.job import JobSpec, Role
from uniapl.spec.requirements import uses_references
from uniapl.spec.run import ModelSource

LEVELS: tuple[Level, ...] = ("low", "expected", "high")
ROLES: tuple[Role, ...] = ("sft", "rl", "both")


@dataclass(frozen=True)
class Models:
    """The shapes of the models of a job."""

    student: Shape
    judge: Shape | None
    """The discriminator's; `None` where none is used."""


def read_models(spec: JobSpec, source_of: Callable[[str], ModelSource], read: Callable[[ModelSource], Shape]) -> Models:
    """The shapes of the models that a spec names.

    Raises:
        ShapeUnknown: by `read`.
    """
    judge = spec.discriminator.model or spec.student
    return Models(read(source_of(spec.student)), read(source_of(judge)) if spec.uses_discriminator else None)


def read_entries(spec: JobSpec, student: ModelSource, files: Sequence[tuple[Path, int]]) -> list[Entry]:
    """The rows of the mix.

    Args:
        spec: the job.
        student: whose tokens are counted.
        files: each entry's dataset, and how many rows it has.
    """
    entries = []
    for given, (path, rows) in zip(spec.dataset_mix, files, strict=True):
        lengths, looked_at = count(path, student, spec.data, references=uses_references(spec, given.role))
        entries.append(Entry(given.role, rows, lengths, looked_at))
    return entries


def memory(spec: JobSpec, models: Models, entries: Sequence[Entry], device: Device) -> MemoryEstimate:
    """What the run takes on a machine's processors, or on its accelerator."""
    found = {
        level: peak(spec, models.student, models.judge, step_of(spec, entries, level), level, device)
        for level in LEVELS
    }
    parts = {
        name: Bytes(**{level: round(parts[name]) for level, (parts, _) in found.items()})
        for name, size in found["high"][0].items()
        if size
    }
    return MemoryEstimate(device=device, parts=parts, total=Bytes(**{k: round(size) for k, (_, size) in found.items()}))


def least(spec: JobSpec, models: Models, entries: Sequence[Entry], device: Device) -> int:
    """Bytes that the run takes at least: `memory(…).total.low`."""
    return round(peak(spec, models.student, models.judge, step_of(spec, entries, "low"), "low", device)[1])


def usual_step(spec: JobSpec, entries: Sequence[Entry], answer: float | None) -> Step:
    """A step with usual rows; its answers are as long as `answer`, or as allowed."""
    return step_of(spec, entries, "low", round(answer or spec.rollout.max_new_tokens))


def roles(spec: JobSpec, entries: Sequence[Entry]) -> list[RoleEstimate]:
    """Rows and tokens by role; those of a large dataset are projected from a sample."""
    weight = sum(given.weight for given in spec.dataset_mix)
    found = []
    for role in ROLES:
        mine = [(given, entry) for given, entry in zip(spec.dataset_mix, entries, strict=True) if entry.role == role]
        rows = sum(entry.rows for _, entry in mine)
        if not rows:
            continue
        drawn = spec.schedule.steps * spec.schedule.prompts_per_step * sum(g.weight for g, _ in mine) / weight
        used = sum(entry.rows * len(entry.lengths) / entry.looked_at for _, entry in mine if entry.looked_at)
        found.append(
            RoleEstimate(
                role=role,
                rows=rows,
                prompt_tokens=round(sum(_projected(entry, [r.prompt for r in entry.lengths]) for _, entry in mine)),
                reference_tokens=round(
                    sum(_projected(entry, [r.reference or 0 for r in entry.lengths]) for _, entry in mine)
                ),
                passes=drawn / used if used else 0.0,
                left_out=1 - used / rows,
            )
        )
    return found


def _projected(entry: Entry, tokens: list[int]) -> float:
    """Tokens of all rows of a dataset from those of a sample."""
    return sum(tokens) * entry.rows / entry.looked_at if entry.looked_at else 0.0
