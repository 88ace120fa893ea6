r"""What is wrong with a dataset's rewards, found before the first step: unusable golds, references that fail.

A `math` row whose gold cannot be read, such as `\boxed{` or `}{`, pays no answer at all. So each gold is judged once,
as an answer to itself. The other kinds of reward have no such fault: an `exact_match` gold equals itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uniapl.rewards.pool import Question, RewardPool, Verdict
from uniapl.rewards.text_answer import is_delimited, plain_mathematics
from uniapl.rewards.verify import final_answer
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.reward import MathReward, Reward, WeightedSumReward

MOST = 20_000
"""Questions that are asked of a dataset, about a minute's worth. A number and no time: rows that are left out decide
the order of all others, and a resumed run must leave out the same."""
MOST_TIMEOUTS = 20
"""After so many that took too long no further ones are asked."""
BATCH = 8
"""Questions for each process between two counts of these."""


@dataclass(frozen=True)
class Checked:
    """What a check found in a dataset."""

    faults: dict[int, str]
    """Why, by the row's place in the dataset."""
    unchecked: int
    """Rows that were not checked: those beyond `MOST`, or after `MOST_TIMEOUTS`."""
    asked: int
    """Rows that were, of those that have a gold or a reference to check."""


def row_name(row: DatasetRow, index: int) -> str:
    """The row's own id, or its place in the dataset, counted from 0."""
    return row.id or f"row-{index}"


def unusable_golds(rows: Sequence[DatasetRow], rewards: RewardPool, most: int = MOST) -> Checked:
    """Rows whose reward no answer earns, since a gold of theirs does not even equal itself. A gold is judged once."""
    golds = [_golds(row.reward) for row in rows]
    asked = {
        gold: Question(_as_answer(gold), MathReward(answer=gold), row_name(row, i))
        for i, row in enumerate(rows)
        for gold in golds[i]
    }
    verdicts = dict(zip(asked, _judged(list(asked.values()), rewards, most), strict=False))
    faults = {
        i: _reason(gold, verdict)
        for i, of_row in enumerate(golds)
        for gold in of_row
        if (verdict := verdicts.get(gold)) is not None and verdict.value != 1
    }
    unchecked = sum(any(gold not in verdicts for gold in of_row) for of_row in golds)
    return Checked(faults, unchecked, asked=sum(map(bool, golds)) - unchecked)


def failing_references(rows: Sequence[DatasetRow], rewards: RewardPool, most: int | None = MOST) -> Checked:
    """Rows whose own reference does not earn their own reward in full; with `most` None all are checked."""
    asked = {
        i: Question(final_answer(row.reference), row.reward, row_name(row, i))
        for i, row in enumerate(rows)
        if row.reference and row.reward
    }
    verdicts = dict(zip(asked, _judged(list(asked.values()), rewards, most), strict=False))
    faults = {i: v.error or f"it earns {v.value:.3g}" for i, v in verdicts.items() if v.value is None or v.value < 1}
    return Checked(faults, unchecked=len(asked) - len(verdicts), asked=len(verdicts))


def _golds(reward: Reward | None) -> list[str]:
    """The golds that have to be read as mathematics."""
    parts = [part.reward for part in reward.parts] if isinstance(reward, WeightedSumReward) else [reward]
    return [part.answer for part in parts if isinstance(part, MathReward)]


def _as_answer(gold: str) -> str:
    """The gold as a student would answer it."""
    bare = plain_mathematics(gold)
    return bare if is_delimited(bare) else f"\\boxed{{{bare}}}"


def _reason(gold: str, verdict: Verdict) -> str:
    if verdict.value is None and verdict.error is not None:
        return verdict.error
    return f"the gold answer {gold!r} cannot be judged: {verdict.error or 'it does not equal itself'}"


def _judged(questions: list[Question], rewards: RewardPool, most: int | None) -> list[Verdict]:
    """Verdicts of the first questions: at most `most`, or of all."""
    if most is None:
        return rewards.verify(questions)
    size, timeouts = BATCH * rewards.options.processes, 0
    found: list[Verdict] = []
    while len(found) < min(most, len(questions)) and timeouts < MOST_TIMEOUTS:
        found += rewards.verify(questions[len(found) : min(most, len(found) + size)])
        timeouts = sum(verdict.timed_out for verdict in found)
    return found
