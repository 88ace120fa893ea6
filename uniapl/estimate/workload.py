"""What one step of a job holds: sequences with their lengths, by the rows of its datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count as numbers
from math import ceil
from statistics import fmean
from typing import Literal

from uniapl.batching.packing import Lengths
from uniapl.spec.job import JobSpec, Role

Level = Literal["low", "expected", "high"]
"""`low`: usual rows and answers as short as the references, or of one token where there are none. `expected`: the
longest row among usual ones, answers as long as allowed, since the longest of all steps sets the peak. `high`: every
row the longest."""
LISTED = 4096
"""Sequences that are looked at one by one; in larger steps each stands for several."""


@dataclass(frozen=True)
class RowLengths:
    """Tokens of one row."""

    prompt: int
    reference: int | None
    """None for a row without one that some term reads."""

    @property
    def total(self) -> int:
        """Of both."""
        return self.prompt + (self.reference or 0)


@dataclass(frozen=True)
class Sample:
    """Rows of a dataset that were looked at."""

    lengths: list[RowLengths]
    """Of those that are within the limits of `data`, shortest first."""
    looked_at: int
    """How many there were, those beyond the limits included."""
    share: float
    """Of the file's bytes that they take."""


@dataclass(frozen=True)
class Entry:
    """One dataset of the mix."""

    role: Role
    rows: int
    """In the dataset."""
    sample: Sample


@dataclass(frozen=True)
class Step:
    """What one step holds."""

    demonstrations: list[Lengths]
    """The teacher's answers; the row's number in the step is the `group`."""
    rollouts: list[Lengths]
    prompts: list[int]
    """Tokens of each prompt that is sampled from."""
    each: float
    """So many sequences of the step are like each that is listed."""

    @property
    def tokens(self) -> float:
        """Of all sequences."""
        return self.each * sum(s.prompt + s.completion for s in self.demonstrations + self.rollouts)


def step_of(spec: JobSpec, entries: Sequence[Entry], level: Level, answer: int | None = None) -> Step:
    """A step of the job; `answer` is the length of rollouts where it is known better than by `level`."""
    G, weight = spec.grpo.group_size, sum(entry.weight for entry in spec.dataset_mix)
    each = max(1.0, spec.schedule.prompts_per_step * (G + 1) / LISTED)
    if answer is None:
        answer = _short_answer(spec, entries) if level == "low" else spec.rollout.max_new_tokens
    step, number = Step([], [], [], each), numbers()
    for given, entry in zip(spec.dataset_mix, entries, strict=True):
        count = ceil(given.weight / weight * spec.schedule.prompts_per_step / each)
        rows = [(next(number), row) for row in _choose(entry.sample.lengths, count, level)]
        taught = [Lengths(n, row.prompt, row.reference or 0) for n, row in rows]
        compared = spec.uses_adv and entry.role in spec.compared_roles()
        if spec.uses_sft and entry.role in ("sft", "both"):
            step.demonstrations.extend(taught)
        if compared and spec.adversarial.target == "teacher_response":
            step.demonstrations.extend(taught)
        if compared or (spec.uses_grpo and entry.role in ("rl", "both")):
            step.prompts.extend(row.prompt for _, row in rows)
            step.rollouts.extend(Lengths(n, row.prompt, answer) for n, row in rows for _ in range(G))
    return step


def _choose(lengths: list[RowLengths], count: int, level: Level) -> list[RowLengths]:
    """Rows of a step, from the sorted rows of the dataset."""
    last = len(lengths) - 1
    if last < 0:
        return []
    if level == "low":
        return [lengths[last // 2]] * count
    if level == "high":
        longest = RowLengths(max(row.prompt for row in lengths), max(row.reference or 0 for row in lengths) or None)
        return [longest] * count
    return [lengths[round((i + 1) / count * last)] for i in range(count)]


def _short_answer(spec: JobSpec, entries: Sequence[Entry]) -> int:
    """Tokens of a short answer: the mean of the teacher's; where there are none, nothing is known but that it ends."""
    references = [row.reference for entry in entries for row in entry.sample.lengths if row.reference]
    return min(ceil(fmean(references)), spec.rollout.max_new_tokens) if references else 1
