"""Can the discriminator tell good answers from bad? No training: scores on answers of known quality.

AUC is the probability that a good answer scores above a bad one, ties counting one half (Mann and Whitney, 1947): over
all pairs of rows, and within a row, which is what a group of rollouts for one prompt asks.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.degraded_answers import mismatched, rewritten, shuffled, truncated
from experiments.table import Table, cell
from uniapl.errors import DatasetError, SpecError
from uniapl.run.config import ModelSource, RunConfig
from uniapl.run.registry import RegisteredModel, discriminator_source
from uniapl.spec.job import JobSpec

if TYPE_CHECKING:
    from uniapl.discriminators.base import Discriminator

NAME = "validate_discriminator"
QUESTION = "how often the discriminator ranks a known-good answer above a known-bad one"


def _won(good: float, bad: float) -> float:
    return 1.0 if good > bad else 0.5 if good == bad else 0.0


def measure(
    prompts: Sequence[str], references: Sequence[str], discriminator: Discriminator, seed: int
) -> dict[str, dict[str, float]]:
    """For each kind of bad answer: AUC over all pairs and within rows, and both mean scores."""
    import torch

    from uniapl.discriminators.auc import auc
    from uniapl.discriminators.base import Comparison

    def scores(outputs: Sequence[str]) -> list[float]:
        asked = [Comparison(p, r, o) for p, r, o in zip(prompts, references, outputs, strict=True)]
        found: list[float] = discriminator.score(asked).tolist()
        return found

    bad_answers = {
        "mismatched": mismatched(references, seed),
        "truncated": [truncated(reference) for reference in references],
        "shuffled": [shuffled(reference, seed) for reference in references],
    }
    good = scores([rewritten(reference) for reference in references])
    measured = {}
    for kind, answers in bad_answers.items():
        bad = scores(answers)
        measured[kind] = {
            "auc": auc(torch.tensor(good), torch.tensor(bad)),
            "within_row": statistics.fmean(map(_won, good, bad)),
            "good_score": statistics.fmean(good),
            "bad_score": statistics.fmean(bad),
        }
    return measured


def validate(
    spec: JobSpec, registry: Mapping[str, RegisteredModel], seeds: Sequence[int]
) -> tuple[Table, list[dict[str, dict[str, float]]]]:
    """The table, and what `measure` found for each seed.

    Raises:
        UniaplError: the discriminator or the rows cannot be loaded.
    """
    prompts, references = _rows(spec)
    discriminator = _load(spec, discriminator_source(spec, registry))
    measured = [measure(prompts, references, discriminator, seed) for seed in seeds]
    rows = [
        [kind, *(cell([found[kind][name] for found in measured], 3) for name in measured[0][kind])]
        for kind in measured[0]
    ]
    notes = [
        f"{len(references)} references; good answers are their rewrites: a preamble, one line, lower case, no "
        "contractions.",
        "Bad answers: another row's reference; the first half of the words; the words in random order.",
    ]
    header = ["bad answers", "AUC", "AUC within a row", "score, good", "score, bad"]
    return Table(f"{NAME}: {QUESTION}", header, rows, notes), measured


def _rows(spec: JobSpec) -> tuple[list[str], list[str]]:
    """Prompts and references of the held-out rows, or of the mix's where none are held out."""
    from uniapl.data.encoding import load_rows

    names = [spec.evaluation.dataset] if spec.evaluation else [entry.dataset for entry in spec.dataset_mix]
    rows = [row for name in names for row in load_rows(Path(name))]
    if spec.evaluation:
        rows = rows[: spec.evaluation.rows]
    pairs = [("\n".join(m.content for m in row.messages), row.reference) for row in rows if row.reference]
    if not pairs:
        raise DatasetError("no row has a reference to compare with", param="evaluation.dataset")
    return [prompt for prompt, _ in pairs], [reference for _, reference in pairs]


def _load(spec: JobSpec, source: ModelSource) -> Discriminator:
    import transformers

    if spec.discriminator.trained:
        raise SpecError(
            "a learned discriminator has no weights before training, so it cannot be validated",
            param="discriminator.type",
        )

    from uniapl.discriminators.load import discriminator_server, load_discriminator
    from uniapl.model.device import find_device

    transformers.utils.logging.disable_progress_bar()
    device = find_device().device
    run = RunConfig(spec=spec, run_dir=".", models={spec.discriminator.model or spec.student: source})
    return load_discriminator(spec, run, device, discriminator_server(spec, run))
