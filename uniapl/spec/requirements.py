"""What a spec asks of its datasets: one rule for the API, before anything is queued, and for the trainer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from uniapl.errors import SpecError
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.job import JobSpec, Role
from uniapl.spec.teacher import OpenAITeacher
from uniapl.spec.weights import format_weight


@dataclass(frozen=True)
class DatasetContents:
    """How many rows a dataset has, and how many of them carry what."""

    rows: int
    references: int
    rewards: int

    @staticmethod
    def of(rows: Iterable[DatasetRow]) -> DatasetContents:
        """Count rows."""
        counted = list(rows)
        return DatasetContents(
            rows=len(counted),
            references=sum(row.reference is not None for row in counted),
            rewards=sum(row.reward is not None for row in counted),
        )


def uses_references(spec: JobSpec, role: Role) -> bool:
    """Whether some term reads the references of rows of this role; the others' are neither asked for nor missed.

    L_SFT imitates them, L_ADV compares rollouts with them, and so does L_GRPO's reward when the discriminator is part
    of it.
    """
    imitated = spec.uses_sft and role in ("sft", "both")
    compared = spec.uses_adv and role in spec.compared_roles()
    rewarded = spec.reward.discriminator_weight > 0 and role in ("rl", "both")
    return imitated or compared or rewarded


def check_mix(spec: JobSpec, contents: Sequence[DatasetContents]) -> None:
    """Refuse a spec whose datasets cannot feed its terms.

    Raises:
        SpecError: with the entry at fault in `param`.
    """
    for problem in mix_problems(spec, contents):
        raise problem


def mix_problems(spec: JobSpec, contents: Sequence[DatasetContents]) -> Iterator[SpecError]:
    """Why datasets cannot feed the terms; an `openai` teacher writes the references that rows lack.

    Args:
        spec: the job.
        contents: one per entry of `spec.dataset_mix`.
    """
    comparable = rewarded = 0
    for i, (entry, has) in enumerate(zip(spec.dataset_mix, contents, strict=True)):
        where = f"dataset_mix.{i}.dataset"
        imitated = spec.uses_sft and entry.role in ("sft", "both")
        explored = spec.uses_grpo and entry.role in ("rl", "both")
        references = has.rows if isinstance(spec.teacher, OpenAITeacher) else has.references
        if imitated and references < has.rows:
            yield SpecError(
                f"role {entry.role!r} with alpha={format_weight(spec.alpha)} imitates references, but "
                f"{has.rows - references} of {has.rows} rows of {entry.dataset} have none",
                param=where,
                hint="add a `reference` to every row, name an `openai` teacher, use role 'rl', or set alpha to 0",
            )
        if explored and has.rewards < has.rows:
            yield SpecError(
                f"role {entry.role!r} with alpha={format_weight(spec.alpha)} verifies answers, but "
                f"{has.rows - has.rewards} of {has.rows} rows of {entry.dataset} have no reward",
                param=where,
                hint="add a `reward` to every row, use role 'sft', or set alpha to 1",
            )
        comparable += references if entry.role in spec.compared_roles() else 0
        rewarded += references if explored else 0
    if spec.uses_adv and comparable == 0:
        yield SpecError(
            f"lambda_adv={format_weight(spec.lambda_adv)} compares rollouts with references, but no sampled row has "
            "one",
            param="lambda_adv",
            hint="add references to the rows, name an `openai` teacher, or set lambda_adv to 0",
        )
    if spec.reward.discriminator_weight > 0 and rewarded == 0:
        yield SpecError(
            f"reward.discriminator_weight={spec.reward.discriminator_weight:g} rewards closeness to references, but no "
            "explored row has one",
            param="reward.discriminator_weight",
            hint="add references to the rows, name an `openai` teacher, or set it to 0",
        )
