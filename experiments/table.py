"""Result tables: a row before training and a row per arm; with several seeds, mean ± sample standard deviation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.experiment import Column, Experiment
from experiments.results import Failure, Metrics, RunResult

BEFORE = "before training"


@dataclass(frozen=True)
class Table:
    """Text cells under a header."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]

    def text(self) -> str:
        """Plain text with aligned columns."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        formatted = [
            "  ".join(
                [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
            )
            for line in lines
        ]
        rule = "-" * len(formatted[0])
        return "\n".join(
            [self.title, "", formatted[0], rule, *formatted[1:], *([""] if self.notes else []), *self.notes]
        )

    def markdown(self) -> str:
        """Markdown."""
        lines = [self.header, ["---"] + ["---:"] * (len(self.header) - 1), *self.rows]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return "\n\n".join([f"**{self.title}**", body, *self.notes])


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and sample standard deviation (divided by n - 1) where there are two values or more."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def cell(values: Sequence[float], digits: int, sign: str = "") -> str:
    """`0.512`, `0.512 ± 0.031`, or an empty string."""
    if not values:
        return ""
    mean, deviation = spread(values)
    formatted = f"{mean:{sign}.{digits}f}"
    return formatted if deviation is None else f"{formatted} ± {deviation:.{digits}f}"


def results_table(
    experiment: Experiment, arms: Sequence[str], results: Sequence[RunResult], failures: Sequence[Failure]
) -> Table:
    """Held-out metrics after the last step, by arm; the first row is before the first step."""
    before = [result.before for result in results if result.before]  # of one run: all start from the same student
    rows = [_row(BEFORE, before[:1], experiment.columns)] if before else []
    for arm in arms:
        after = [result.after for result in results if result.arm == arm]
        rows.append(_row(arm, after, experiment.columns))
    seeds = sorted({result.seed for result in results})
    notes = [f"{len(seeds)} seeds: mean ± sample standard deviation."] if len(seeds) > 1 else []
    notes += [f"{failure.arm}, seed {failure.seed} failed: {failure.message}" for failure in failures]
    header = ["arm", *(column.title for column in experiment.columns)]
    return Table(f"{experiment.name}: {experiment.question}", header, rows, notes)


def differences_table(experiment: Experiment, arms: Sequence[str], results: Sequence[RunResult]) -> Table | None:
    """Differences to the baseline, seed by seed; a star marks a mean difference above its deviation over the seeds.

    `None` without a baseline or with fewer than two seeds.
    """
    base = {result.seed: result.after for result in results if result.arm == experiment.baseline}
    if len(base) < 2:
        return None
    rows = []
    for arm in arms:
        if arm == experiment.baseline:
            continue
        pairs = [(result.after, base[result.seed]) for result in results if result.arm == arm and result.seed in base]
        rows.append([arm, *(_difference(pairs, column) for column in experiment.columns)])
    notes = [
        "Mean ± sample standard deviation of the differences, seed by seed.",
        "* The mean difference is larger than that deviation.",
    ]
    header = ["arm", *(column.title for column in experiment.columns)]
    return Table(f"Difference to {experiment.baseline}", header, rows, notes)


def _difference(pairs: Sequence[tuple[Metrics, Metrics]], column: Column) -> str:
    name = column.metric
    found = [ours[name] - base[name] for ours, base in pairs if name in ours and name in base]
    if not found:
        return ""
    mean, deviation = spread(found)
    star = " *" if deviation is not None and abs(mean) > deviation else ""
    return cell(found, column.digits, sign="+") + star


def _row(name: str, runs: Sequence[Metrics], columns: Sequence[Column]) -> list[str]:
    return [name, *(cell([run[c.metric] for run in runs if c.metric in run], c.digits) for c in columns)]
