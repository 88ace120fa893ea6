"""What a spec asks of its datasets: one rule for the API, before anything is queued, and for the trainer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from uniapl.errors import SpecError
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.job import JobSpec
from uniapl.spec.weights import shown


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


def check_mix(spec: JobSpec, contents: Sequence[DatasetContents]) -> None:
    """Refuse a spec whose datasets cannot feed its terms.

    Args:
        spec: the job.
        contents: one per entry of `spec.dataset_mix`.

    Raises:
        SpecError: with the entry at fault in `param`.
    """
    comparable = 0
    for i, (entry, has) in enumerate(zip(spec.dataset_mix, contents, strict=True)):
        where = f"dataset_mix.{i}.dataset"
        imitated = spec.uses_sft and entry.role in ("sft", "both")
        explored = spec.uses_rollouts and entry.role in ("rl", "both")
        if imitated and has.references < has.rows:
            raise SpecError(
                f"role {entry.role!r} with alpha={shown(spec.alpha)} imitates references, but "
                f"{has.rows - has.references} of {has.rows} rows of {entry.dataset} have none",
                param=where,
                hint="add a `reference` to every row, use role 'rl', or set alpha to 0",
            )
        if explored and spec.uses_grpo and has.rewards < has.rows:
            raise SpecError(
                f"role {entry.role!r} with alpha={shown(spec.alpha)} verifies answers, but "
                f"{has.rows - has.rewards} of {has.rows} rows of {entry.dataset} have no reward",
                param=where,
                hint="add a `reward` to every row, use role 'sft', or set alpha to 1",
            )
        if explored:
            comparable += has.references
    if spec.uses_adv and comparable == 0:
        raise SpecError(
            f"lambda_adv={shown(spec.lambda_adv)} compares rollouts with references, but no sampled row has one",
            param="lambda_adv",
            hint="add references to the rows, or set lambda_adv to 0",
        )
