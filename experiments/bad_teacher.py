"""Bad-teacher experiment: whether the anchor to a bad teacher's answers spreads its faults or resists them.

The arms train on degraded references and are compared on held-out rows with the original ones: reward, and distance to
the good teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiments.degraded_answers import mismatched, verbose
from experiments.experiment import Arm, Column, Experiment, changed
from experiments.weights import COLUMNS, weighted, with_all_terms
from uniapl.errors import SpecError
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.job import JobSpec

_BAD: Mapping[str, Callable[[Sequence[str]], list[str]]] = {
    "verbose": lambda references: [verbose(reference) for reference in references],
    "wrong": lambda references: mismatched(references, seed=0),
}


def _arms(spec: JobSpec) -> list[Arm]:
    """Imitation, UniAPL without its anchor, and UniAPL, for each teacher."""
    spec = with_all_terms(spec)
    if spec.teacher.type != "dataset":
        raise SpecError("the experiment needs references in the rows; set teacher.type to 'dataset'", param="teacher")
    return [
        Arm(f"{teacher}_{name}", weighted(_taught_by(spec, teacher), alpha, lambda_adv))
        for teacher in ("good", *_BAD)
        for name, alpha, lambda_adv in (
            ("sft", 1.0, 0.0),
            ("unanchored", spec.alpha, 0.0),
            ("uniapl", spec.alpha, spec.lambda_adv),
        )
    ]


def _taught_by(spec: JobSpec, teacher: str) -> JobSpec:
    if teacher == "good":
        return spec
    mix = [e.model_copy(update={"dataset": f"{teacher}-{i}"}) for i, e in enumerate(spec.dataset_mix)]
    return changed(spec, dataset_mix=mix)


def _datasets(spec: JobSpec) -> dict[str, list[DatasetRow]]:
    """Datasets with degraded references: `verbose-0` is the mix's first dataset, and so on."""
    from uniapl.data.encoding import load_rows  # imports torch

    made = {}
    for i, entry in enumerate(spec.dataset_mix):
        rows = load_rows(Path(entry.dataset))
        for teacher, worsen in _BAD.items():
            made[f"{teacher}-{i}"] = _with_references(rows, worsen)
    return made


def _with_references(rows: Sequence[DatasetRow], worsen: Callable[[Sequence[str]], list[str]]) -> list[DatasetRow]:
    bad = iter(worsen([row.reference for row in rows if row.reference is not None]))
    return [row if row.reference is None else row.model_copy(update={"reference": next(bad)}) for row in rows]


BAD_TEACHER = Experiment(
    "bad_teacher",
    "a verbose and a wrong teacher: whether the anchor to their answers spreads the fault or resists it",
    _arms,
    (*COLUMNS, Column("length", "eval/completion_length", digits=1)),
    datasets=_datasets,
)
