"""The report types of `reports.jsonl`, which the trainer appends and the worker relays into the database.

One JSON object per line. `seq` counts from 1 without gaps within a run directory, `ts` is Unix time in seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

Level = Literal["info", "warning", "error"]
Phase = Literal[
    "asking_teacher",
    "warming_discriminator",
    "warming_sampler",
    "loading_student",
    "loading_discriminator",
    "training",
    "evaluating",
    "saving",
]


Printable = Annotated[str, AfterValidator(lambda text: text.replace("\x00", "\ufffd"))]
"""Text with NUL characters replaced, which databases cannot store."""


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    seq: int
    ts: float


class MetricReport(_Report):
    """Metrics of one step; names of evaluation metrics begin with `eval/`."""

    kind: Literal["metric"] = "metric"
    step: int
    values: dict[str, float]


class SampleReport(_Report):
    """One answer to a held-out row."""

    kind: Literal["sample"] = "sample"
    step: int
    row: str
    prompt: str
    completion: Printable
    reference: str | None
    reward: float | None
    score: float | None


class CheckpointReport(_Report):
    """A complete checkpoint on disk."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str
    manifest_sha256: str
    bytes: int


class PhaseReport(_Report):
    """The start of a phase."""

    kind: Literal["phase"] = "phase"
    phase: Phase


class EventReport(_Report):
    """A message for the job's owner."""

    kind: Literal["event"] = "event"
    level: Level
    message: Printable
    data: dict[str, Any] = {}


class ErrorReport(_Report):
    """The error that ended the run."""

    kind: Literal["error"] = "error"
    code: str
    message: Printable
    hint: str | None
    param: str | None


Report = MetricReport | SampleReport | CheckpointReport | PhaseReport | EventReport | ErrorReport
REPORT: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="kind")])
"""Parses one line."""
