"""The workload of one step of a job: its sequences with their lengths, from the rows of the datasets."""

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
"""`low`: median rows, completions as short as the references, or of one token without references. `expected`: rows of
all lengths including the longest, completions as long as allowed, since the longest step sets the peak. `high`: every
row as long as the longest."""
LISTED = 4096
"""Most sequences that are listed individually; in larger steps each represents several."""


@dataclass(frozen=True)
class RowLengths:
    """Tokens of one row."""

    prompt: int
    reference: int | None
    """`None` where the row has none, or no term reads it."""
    earlier: tuple[tuple[int, int], ...] = ()
    """Tokens before and of each earlier answer of the prompt that is trained (`data.trained_turns`)."""

    @property
    def total(self) -> int:
        """Prompt and reference together, and what is trained beside them."""
        return self.prompt + (self.reference or 0) + sum(before + answer for before, answer in self.earlier)

    @property
    def imitated(self) -> int:
        """Tokens of all answers that are trained or compared."""
        return (self.reference or 0) + sum(answer for _, answer in self.earlier)


@dataclass(frozen=True)
class Sample:
    """A sample of a dataset's rows."""

    lengths: list[RowLengths]
    """Lengths of the rows within the limits of `data`, shortest first."""
    looked_at: int
    """Number of sampled rows, including those beyond the limits."""
    share: float
    """Share of the file's bytes in the sample."""


@dataclass(frozen=True)
class Entry:
    """One dataset of the mix."""

    role: Role
    rows: int
    """Number of rows in the dataset."""
    sample: Sample


@dataclass(frozen=True)
class Step:
    """The sequences of one step."""

    demonstrations: list[Lengths]
    """The teacher's answers; `group` is the row's number in the step."""
    rollouts: list[Lengths]
    prompts: list[int]
    """Tokens of each prompt that completions are sampled for."""
    each: float
    """Number of sequences of the step that each listed one represents."""

    @property
    def tokens(self) -> float:
        """Tokens of all sequences."""
        return self.each * sum(s.prompt + s.completion for s in self.demonstrations + self.rollouts)


def step_of(spec: JobSpec, entries: Sequence[Entry], level: Level, answer: int | None = None) -> Step:
    """A step of the job; `answer` is the length of completions where it is known, else `level` decides it."""
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
            earlier = (each for _, row in rows for each in row.earlier)
            step.demonstrations.extend(Lengths(next(number), before, length) for before, length in earlier)
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
        earlier = max((row.earlier for row in lengths), key=lambda turns: sum(map(sum, turns)))
        reference = max(row.reference or 0 for row in lengths) or None
        return [RowLengths(max(row.prompt for row in lengths), reference, earlier)] * count
    return [lengths[round((i + 1) / count * last)] for i in range(count)]


def _short_answer(spec: JobSpec, entries: Sequence[Entry]) -> int:
    """Tokens of a short completion: the mean of the references, or 1 without references."""
    references = [row.reference for entry in entries for row in entry.sample.lengths if row.reference]
    return min(ceil(fmean(references)), spec.rollout.max_new_tokens) if references else 1
