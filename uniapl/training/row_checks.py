"""Checks of a dataset's rows before the first step, and the events that report their findings."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from uniapl.chat.renderer import Renderer
from uniapl.chat.template import TEMPLATE_ERRORS
from uniapl.data.encoded_row import EncodedRow
from uniapl.errors import DatasetError, SpecError
from uniapl.estimate.positions import excess
from uniapl.rewards.gold_check import Checked, failing_references, row_name, unusable_golds
from uniapl.rewards.pool import RewardPool
from uniapl.run.reporter import Reporter
from uniapl.run.reports import Level
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.job import JobSpec, MixEntry
from uniapl.teachers.references import without_failing_references

NAMED = 20
"""Number of rows that an event names."""


def report_rows(
    reporter: Reporter, message: str, rows: Sequence[str], level: Level = "warning", **data: float | list[int]
) -> None:
    """Report a finding about the rows with these ids, of which the event names the first; none without rows.

    Args:
        reporter: receives the event.
        message: the finding.
        rows: ids of all rows concerned.
        level: level of the event.
        data: further numbers of the event.
    """
    if rows:
        reporter.event(message, level=level, rows=list(rows[:NAMED]), **data)


@dataclass(frozen=True)
class Usable:
    """Rows of a dataset whose gold answers can be judged."""

    rows: list[DatasetRow]
    """They keep the names that they have in the whole dataset."""
    lines: list[int]
    """Line number of each row in the dataset, counted from 1."""
    golds: Checked

    @classmethod
    def all_of(cls, rows: list[DatasetRow]) -> Usable:
        """All rows, without a check."""
        return cls(rows, list(range(1, len(rows) + 1)), Checked({}, 0, 0))


def without_unusable(rows: list[DatasetRow], dataset: str, rewards: RewardPool, reporter: Reporter) -> Usable:
    """The rows whose gold answer can be judged.

    Raises:
        DatasetError: more than `reward.max_failed_fraction` of the rows are unusable, or all.
    """
    found = unusable_golds(rows, rewards)
    faults = [f"{row_name(rows[i], i)}: {why}" for i, why in found.faults.items()]
    if faults and (len(faults) > rewards.options.max_failed_fraction * len(rows) or len(faults) == len(rows)):
        raise DatasetError(
            f"{len(faults)} of {len(rows)} rows of {dataset} have a gold answer that no answer can equal: "
            f"{'; '.join(faults[:5])}",
            param="reward.max_failed_fraction",
            hint="write these golds as LaTeX, give these rows an `exact_match` reward, or raise "
            "reward.max_failed_fraction to skip more rows",
        )
    _report_golds(found, rows, dataset, reporter, "these rows are skipped")
    named = [row.model_copy(update={"id": row_name(row, i)}) for i, row in enumerate(rows)] if faults else rows
    kept = [i for i in range(len(rows)) if i not in found.faults]
    return Usable([named[i] for i in kept], [i + 1 for i in kept], found)


def unrewarded_where_unusable(
    rows: list[DatasetRow], dataset: str, rewards: RewardPool, reporter: Reporter
) -> list[DatasetRow]:
    """Held-out rows, without the rewards that no answer can earn."""
    found = unusable_golds(rows, rewards)
    _report_golds(found, rows, dataset, reporter, "answers to these rows are not verified")
    return [row.model_copy(update={"reward": None}) if i in found.faults else row for i, row in enumerate(rows)]


def _report_golds(found: Checked, rows: list[DatasetRow], dataset: str, reporter: Reporter, then: str) -> None:
    if found.unchecked:
        reporter.event(f"the golds of {found.unchecked} rows of {dataset} were not checked")
    names = [row_name(rows[i], i) for i in found.faults]
    report_rows(
        reporter,
        f"{len(names)} of {len(rows)} rows of {dataset} ({len(names) / max(len(rows), 1):.1%}) have a gold answer that "
        f"no answer can equal; {then}{_first(names, found)}",
        names,
        lines=[i + 1 for i in list(found.faults)[:NAMED]],
        judged=found.asked,
        failed=len(names),
        share=len(names) / max(len(rows), 1),
    )


def report_references(
    rows: list[DatasetRow], usable: Usable, dataset: str, rewards: RewardPool, reporter: Reporter
) -> None:
    """Report the references that do not earn their own row's reward in full; they are used all the same.

    Args:
        rows: the usable rows, with the teacher's answers.
        usable: the result of `without_unusable`.
        dataset: name of the dataset.
        rewards: judges the references.
        reporter: receives a warning, or the number of golds and references if none of them fails.
    """
    found = failing_references(rows, rewards)
    names = [row_name(rows[i], i) for i in found.faults]
    unchecked = f" ({found.unchecked} more were not checked)" if found.unchecked else ""
    report_rows(
        reporter,
        f"{len(names)} of {found.asked} references of {dataset} ({len(names) / max(found.asked, 1):.1%}) fail their "
        f"own reward{unchecked}{_first(names, found)}. Correct the rewards or the references, or set "
        "data.filter_teacher to skip these references",
        names,
        **_numbers(found, usable.lines),
    )
    golds = usable.golds
    if not names and not golds.faults and golds.asked + found.asked:
        reporter.event(
            f"all {golds.asked} gold answers and {found.asked} references of {dataset} that were judged earn their "
            f"own reward{unchecked}",
            golds=golds.asked,
            references=found.asked,
            failed=0,
        )


def _numbers(found: Checked, lines: list[int]) -> dict[str, Any]:
    """Lines of the first failing references, and how many were judged and fail."""
    failed = len(found.faults)
    named = [lines[i] for i in list(found.faults)[:NAMED]]
    return {"lines": named, "judged": found.asked, "failed": failed, "share": failed / max(found.asked, 1)}


def _first(names: list[str], found: Checked) -> str:
    return f": {names[0]}: {next(iter(found.faults.values()))}" if names else ""


def filter_references(
    rows: list[DatasetRow],
    lines: list[int],
    entry: MixEntry,
    spec: JobSpec,
    rewards: RewardPool,
    reporter: Reporter,
) -> list[DatasetRow]:
    """`without_failing_references`, and without the rows that no term uses then.

    Raises:
        DatasetError: no reference is left.
    """
    dataset = entry.dataset
    kept, found = without_failing_references(rows, rewards)
    dropped = [row_name(rows[i], i) for i in found.faults]
    message = f"{len(dropped)} of {found.asked} references of {dataset} fail their own reward and are skipped"
    report_rows(reporter, message, dropped, "info", **_numbers(found, lines))
    if not any(row.reference for row in kept) and any(row.reference for row in rows):
        raise DatasetError(
            f"no reference of {dataset} passes its own reward",
            param="data.filter_teacher",
            hint="correct the rewards, or set data.filter_teacher to false",
        )
    explored = spec.uses_grpo and entry.role in ("rl", "both")
    return kept if explored else [row for row in kept if row.reference]


def check_comparable(spec: JobSpec, mix: list[list[EncodedRow]]) -> None:
    """Raises `SpecError` if filters and limits leave no reference for L_ADV."""
    entries = zip(spec.dataset_mix, mix, strict=True)
    if spec.uses_adv and not any(
        row.reference for entry, rows in entries if entry.role in spec.compared_roles() for row in rows
    ):
        raise SpecError(
            "lambda_adv compares rollouts with references, and no reference is within the limits",
            param="data.max_reference_tokens",
            hint="raise the limits in `data`, or set lambda_adv to 0",
        )


def report_too_long(ids: list[str], dataset: str, reporter: Reporter) -> None:
    """Report the rows that the limits in `data` exclude."""
    report_rows(reporter, f"{len(ids)} rows of {dataset} are longer than the limits in `data` and are skipped", ids)


def report_reasoning(rows: list[EncodedRow], dataset: str, reporter: Reporter) -> None:
    """Report the references that are changed because of where the chat template puts reasoning."""
    stripped = [row.id for row in rows if row.change == "left out"]
    closed = [row.id for row in rows if row.change == "closed"]
    joined = [row.id for row in rows if row.change == "joined"]
    report_rows(
        reporter,
        f"{len(stripped)} references of {dataset} have reasoning before `</think>`, and the student's chat template "
        f"opens none: the reasoning is removed and only the answers are trained; first row: {''.join(stripped[:1])}. "
        "To train the reasoning, set data.thinking to 'on'",
        stripped,
    )
    report_rows(
        reporter,
        f"the student's chat template opens a reasoning block, and {len(closed)} references of {dataset} have no "
        "reasoning: the block is closed before them, so that the student learns to answer without reasoning",
        closed,
    )
    report_rows(
        reporter,
        f"{len(joined)} references of {dataset} continue the generation prompt directly, because the student's chat "
        "template renders a whole conversation without the text of its generation prompt; to train the template's own "
        "text, correct data.chat_template",
        joined,
    )


def report_mode(renderer: Renderer, reporter: Reporter) -> None:
    """Report a reasoning mode that is not the default of the chat template, which checkpoints contain."""
    thinking = renderer.options.thinking
    with suppress(*TEMPLATE_ERRORS):  # of a template that rejects a single question
        if not renderer.is_default():
            reporter.event(
                f"the student is trained with data.thinking {thinking!r}, not with its chat template's default: "
                f"requests to the checkpoints must set enable_thinking={str(thinking == 'on').lower()} in "
                "chat_template_kwargs; to train the default, set data.thinking to 'auto'",
                level="warning",
            )


def check_positions(spec: JobSpec, config: dict[str, object], mix: list[list[EncodedRow]], reporter: Reporter) -> None:
    """Report sequences beyond the student's positions.

    Args:
        spec: the job.
        config: the student's config.
        mix: the rows of each entry of the mix.
        reporter: gets a warning where the student computes beyond its positions.

    Raises:
        SpecError: the student's forward fails there.
    """
    rows = [
        (entry.role, len(row.prompt_ids), len(row.reference_ids or []))
        for entry, encoded in zip(spec.dataset_mix, mix, strict=True)
        for row in encoded
    ]
    if (found := excess(spec, config, rows)) is None:
        return
    if found.fails:
        raise found.error
    reporter.event(f"{found.message}; {found.remedy}", level="warning")
