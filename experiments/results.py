"""What a run leaves behind: its held-out numbers before training and after the last step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from uniapl.run.reports import REPORT, ErrorReport, MetricReport, Report

Metrics = dict[str, float]


class RunResult(BaseModel):
    """A finished run; `result.json` in its folder."""

    model_config = ConfigDict(frozen=True)

    arm: str
    seed: int
    fingerprint: str
    """Hash of the spec, the models' sources and the datasets' contents."""
    seconds: float
    """Of the attempt that finished it."""
    before: Metrics
    """Before the first policy update."""
    after: Metrics
    """Of the last step."""


@dataclass(frozen=True)
class Failure:
    """A run that did not finish."""

    arm: str
    seed: int
    message: str


def read_reports(run_dir: Path) -> list[Report]:
    """The reports of all attempts so far."""
    return list(parsed((run_dir / "reports.jsonl").read_text(encoding="utf-8").split("\n")))


def parsed(lines: Iterable[str]) -> Iterator[Report]:
    """Lines that are whole reports; one that a killed attempt tore is passed over."""
    for line in lines:
        with suppress(ValidationError):
            yield REPORT.validate_json(line)


def metrics_at(reports: list[Report], step: int) -> Metrics:
    """Every metric of a step; the last attempt's where several made it."""
    merged: Metrics = {}
    for report in reports:
        if isinstance(report, MetricReport) and report.step == step:
            merged |= report.values
    return merged


def last_error(reports: list[Report]) -> str | None:
    """What the trainer gave as the reason why it ended."""
    if reports and isinstance(reports[-1], ErrorReport):
        return f"{reports[-1].code}: {reports[-1].message}"
    return None
