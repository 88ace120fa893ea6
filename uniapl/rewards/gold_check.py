r"""Checks of a dataset before the first step: unusable gold answers, references that fail their own reward.

No answer can satisfy a `math` row whose gold answer cannot be parsed, such as `\boxed{` or `}{`. Therefore each gold
answer is verified against itself once. Other reward types need no check: an `exact_match` gold answer equals itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uniapl.rewards.mathematics.notation import is_delimited, plain_amounts
from uniapl.rewards.pool import Question, RewardPool, Verdict
from uniapl.rewards.verify import final_answer
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.reward import MathReward, Reward, WeightedSumReward

MOST = 20_000
"""Maximum number of checks per dataset, about one minute. Not a time limit: skipped rows determine the order of all
others, and a resumed run must skip the same rows."""
MOST_TIMEOUTS = 20
"""Number of timeouts after which the check stops."""
BATCH = 8
"""Checks per process between two counts of timeouts."""


@dataclass(frozen=True)
class Checked:
    """Result of a check of a dataset."""

    faults: dict[int, str]
    """Reason of each failure, by row index."""
    unchecked: int
    """Number of rows not checked: beyond `MOST`, or after `MOST_TIMEOUTS`."""
    asked: int
    """Number of rows checked, among those with a gold answer or a reference."""


def row_name(row: DatasetRow, index: int) -> str:
    """The row's id, or `row-<index>`, counted from 0."""
    return row.id or f"row-{index}"


def unusable_golds(rows: Sequence[DatasetRow], rewards: RewardPool, most: int = MOST) -> Checked:
    """Rows with a gold answer that does not equal itself, so that no answer gets a reward. Each gold is checked
    once."""
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
    """Rows whose reference has a reward below 1; with `most` None all rows are checked."""
    asked = {
        i: Question(final_answer(row.reference), row.reward, row_name(row, i))
        for i, row in enumerate(rows)
        if row.reference and row.reward
    }
    verdicts = dict(zip(asked, _judged(list(asked.values()), rewards, most), strict=False))
    faults = {
        i: v.error or f"its reward is {v.value:.3g}" for i, v in verdicts.items() if v.value is None or v.value < 1
    }
    return Checked(faults, unchecked=len(asked) - len(verdicts), asked=len(verdicts))


def _golds(reward: Reward | None) -> list[str]:
    """Gold answers that are parsed as mathematics."""
    parts = [part.reward for part in reward.parts] if isinstance(reward, WeightedSumReward) else [reward]
    return [part.answer for part in parts if isinstance(part, MathReward)]


def _as_answer(gold: str) -> str:
    """The gold answer in the format of a student's answer."""
    bare = plain_amounts(gold)
    return bare if is_delimited(bare) else f"\\boxed{{{bare}}}"


def _reason(gold: str, verdict: Verdict) -> str:
    if verdict.value is None and verdict.error is not None:
        return verdict.error
    return f"the gold answer {gold!r} cannot be verified: {verdict.error or 'it does not equal itself'}"


def _judged(questions: list[Question], rewards: RewardPool, most: int | None) -> list[Verdict]:
    """Verdicts of the first `most` questions, or of all."""
    if most is None:
        return rewards.verify(questions)
    size, timeouts = BATCH * rewards.options.processes, 0
    found: list[Verdict] = []
    while len(found) < min(most, len(questions)) and timeouts < MOST_TIMEOUTS:
        found += rewards.verify(questions[len(found) : min(most, len(found) + size)])
        timeouts = sum(verdict.timed_out for verdict in found)
    return found
