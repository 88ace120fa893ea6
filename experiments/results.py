"""Results of runs: held-out metrics before training and after the last step."""

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
    """Duration of the last attempt."""
    before: Metrics
    """Metrics before the first policy update."""
    after: Metrics
    """Metrics of the last step."""


@dataclass(frozen=True)
class Failure:
    """A run that did not finish."""

    arm: str
    seed: int
    message: str


def read_reports(run_dir: Path) -> list[Report]:
    """The reports of all attempts so far."""
    return list(parse((run_dir / "reports.jsonl").read_text(encoding="utf-8").split("\n")))


def parse(lines: Iterable[str]) -> Iterator[Report]:
    """The reports of complete lines; lines torn by a killed attempt are skipped."""
    for line in lines:
        with suppress(ValidationError):
            yield REPORT.validate_json(line)


def metrics_at(reports: list[Report], step: int) -> Metrics:
    """All metrics of a step, those of the last attempt where several attempts ran it."""
    merged: Metrics = {}
    for report in reports:
        if isinstance(report, MetricReport) and report.step == step:
            merged |= report.values
    return merged


def last_error(reports: list[Report]) -> str | None:
    """The error in the trainer's last report; `None` without one."""
    if reports and isinstance(reports[-1], ErrorReport):
        return f"{reports[-1].code}: {reports[-1].message}"
    return None
