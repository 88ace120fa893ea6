"""Requirements of a spec on its datasets, checked by the API at submission and by the trainer."""

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
    """Numbers of rows of a dataset: all, with a reference, with a reward."""

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
    """Whether any term reads the references of rows of this role.

    L_SFT imitates them; L_ADV compares rollouts with them, and so does L_GRPO's reward if `reward.discriminator_weight`
    is positive.
    """
    imitated = spec.uses_sft and role in ("sft", "both")
    compared = spec.uses_adv and role in spec.compared_roles()
    rewarded = spec.reward.discriminator_weight > 0 and role in ("rl", "both")
    return imitated or compared or rewarded


def check_mix(spec: JobSpec, contents: Sequence[DatasetContents]) -> None:
    """Check that the datasets have the references and rewards that the loss terms need.

    Raises:
        SpecError: the first problem, with the field at fault in `param`.
    """
    for problem in mix_problems(spec, contents):
        raise problem


def mix_problems(spec: JobSpec, contents: Sequence[DatasetContents]) -> Iterator[SpecError]:
    """Missing references and rewards; an `openai` teacher generates missing references.

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
                f"role {entry.role!r} with alpha={format_weight(spec.alpha)} needs a reference in every row, but "
                f"{has.rows - references} of {has.rows} rows of {entry.dataset} have none",
                param=where,
                hint="add a `reference` to every row, use an `openai` teacher, use role 'rl', or set alpha to 0",
            )
        if explored and has.rewards < has.rows:
            yield SpecError(
                f"role {entry.role!r} with alpha={format_weight(spec.alpha)} needs a reward in every row, but "
                f"{has.rows - has.rewards} of {has.rows} rows of {entry.dataset} have none",
                param=where,
                hint="add a `reward` to every row, use role 'sft', or set alpha to 1",
            )
        comparable += references if entry.role in spec.compared_roles() else 0
        rewarded += references if explored else 0
    if spec.uses_adv and comparable == 0:
        yield SpecError(
            f"lambda_adv={format_weight(spec.lambda_adv)} compares rollouts with references, but no sampled row has a "
            "reference",
            param="lambda_adv",
            hint="add a `reference` to the rows, use an `openai` teacher, or set lambda_adv to 0",
        )
    if spec.reward.discriminator_weight > 0 and rewarded == 0:
        yield SpecError(
            f"reward.discriminator_weight={spec.reward.discriminator_weight:g} compares rollouts with references, but "
            "no row of role 'rl' or 'both' has a reference",
            param="reward.discriminator_weight",
            hint="add a `reference` to the rows, use an `openai` teacher, or set it to 0",
        )
