"""The rows of a run: loaded, checked, completed with the teacher's answers, and encoded."""

from __future__ import annotations

from uniapl.data.encoded_row import EncodedRow
from uniapl.data.encoding import encode_rows, load_rows, renderer_of
from uniapl.model.policy import Policy
from uniapl.rewards.pool import RewardPool
from uniapl.run.config import RunConfig
from uniapl.run.credentials import Credentials
from uniapl.run.reporter import Reporter
from uniapl.run.signals import Signals
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.importers.rows import IgnoredFields
from uniapl.spec.requirements import DatasetContents, check_mix, uses_references
from uniapl.teachers.references import fill_references
from uniapl.training.row_checks import (
    Usable,
    check_comparable,
    check_positions,
    filter_references,
    report_mode,
    report_reasoning,
    report_references,
    report_too_long,
    unrewarded_where_unusable,
    without_unusable,
)

Rows = list[DatasetRow]


def load_data(
    run: RunConfig, reporter: Reporter, signals: Signals, rewards: RewardPool, credentials: Credentials
) -> tuple[list[Rows], Rows]:
    """Rows of each entry of the mix and of the evaluation, with the teacher's answers where they lack references.

    Runs before any model is loaded, so that faults in the data are reported within seconds.

    Raises:
        UniaplError: a dataset cannot be read or does not fit the spec, or the teacher does not answer.
    """
    spec = run.spec
    mix = [load_dataset(run, entry.dataset, reporter) for entry in spec.dataset_mix]
    check_mix(spec, [DatasetContents.of(rows) for rows in mix])
    verified = [spec.uses_grpo and entry.role in ("rl", "both") for entry in spec.dataset_mix]
    usable = [
        without_unusable(rows, entry.dataset, rewards, reporter) if is_verified else Usable.all_of(rows)
        for rows, entry, is_verified in zip(mix, spec.dataset_mix, verified, strict=True)
    ]
    mix = [found.rows for found in usable]
    held_out: Rows = []
    if spec.evaluation is not None:
        held_out = load_dataset(run, spec.evaluation.dataset, reporter)[: spec.evaluation.rows]
        held_out = unrewarded_where_unusable(held_out, spec.evaluation.dataset, rewards, reporter)
    mix, held_out = _with_references(run, mix, held_out, reporter, signals, credentials)
    for i, (entry, is_verified) in enumerate(zip(spec.dataset_mix, verified, strict=True)):
        if spec.data.filter_teacher:
            mix[i] = filter_references(mix[i], usable[i].lines, entry, spec, rewards, reporter)
        elif is_verified:
            report_references(mix[i], usable[i], entry.dataset, rewards, reporter)
    return mix, held_out


def _with_references(
    run: RunConfig, mix: list[Rows], held_out: Rows, reporter: Reporter, signals: Signals, credentials: Credentials
) -> tuple[list[Rows], Rows]:
    """The rows with answers of an `openai` teacher where they lack references."""
    if run.spec.teacher.type != "openai":
        return mix, held_out
    reporter.phase("asking_teacher")
    cache = run.teacher_cache_path()
    with signals.loading(abort=False):  # answers under way are paid for
        return fill_references(run.spec, mix, held_out, cache=cache, on_event=reporter.event, credentials=credentials)


def load_dataset(run: RunConfig, dataset: str, reporter: Reporter) -> Rows:
    """The rows of a dataset; fields that are ignored are reported.

    Raises:
        DatasetError: as `load_rows`.
    """
    ignored = IgnoredFields()
    rows = load_rows(run.dataset_path(dataset), ignored)
    if ignored.rows:
        names = ", ".join(list(ignored.rows)[:10])
        reporter.event(f"ignored fields of {dataset}: {names}", dataset=dataset, ignored_fields=ignored.rows)
    return rows


def encode_data(
    run: RunConfig, policy: Policy, mix: list[Rows], held_out: Rows, reporter: Reporter
) -> tuple[list[list[EncodedRow]], list[EncodedRow]]:
    """The rows of each entry of the mix, and of the evaluation, as the student's tokens.

    Raises:
        DatasetError: a row cannot be encoded, or no row is within the limits.
        SpecError: no reference is left for L_ADV, or a sequence has more tokens than the student has positions.
    """
    spec = run.spec
    encoded = [
        encode(rows, run, entry.dataset, policy, reporter, references=uses_references(spec, entry.role))
        for rows, entry in zip(mix, spec.dataset_mix, strict=True)
    ]
    check_comparable(spec, encoded)
    check_positions(spec, policy.model.config.to_dict(), encoded, reporter)
    report_mode(renderer_of(policy, policy.end_of_turn, spec.data), reporter)
    if spec.evaluation is None:
        return encoded, []
    return encoded, encode(held_out, run, spec.evaluation.dataset, policy, reporter, references=True)


def encode(
    rows: Rows, run: RunConfig, dataset: str, policy: Policy, reporter: Reporter, *, references: bool
) -> list[EncodedRow]:
    """The rows within the limits of `data`; `references` is whether a term reads the references.

    Raises:
        DatasetError: as `encode_rows`.
    """
    name = run.dataset_path(dataset).name
    usable, too_long = encode_rows(rows, name, policy, run.spec.data, references=references)
    report_too_long(too_long, dataset, reporter)
    if references:
        report_reasoning(usable, dataset, reporter)
    return usable
