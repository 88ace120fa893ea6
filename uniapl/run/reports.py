"""The lines of `reports.jsonl`, which the trainer appends and the worker relays into the database.

One JSON object a line. `seq` counts from 1 without gaps within a run directory, `ts` is Unix time in seconds.
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
"""Text that a model wrote, with what no database can store replaced."""


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    seq: int
    ts: float


class MetricReport(_Report):
    """Numbers of one step; an evaluation's names begin with `eval/`."""

    kind: Literal["metric"] = "metric"
    step: int
    values: dict[str, float]


class SampleReport(_Report):
    """One held-out answer."""

    kind: Literal["sample"] = "sample"
    step: int
    row: str
    prompt: str
    completion: Printable
    reference: str | None
    reward: float | None
    score: float | None


class CheckpointReport(_Report):
    """A checkpoint that is complete on disk."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str
    manifest_sha256: str
    bytes: int


class PhaseReport(_Report):
    """What the trainer is doing now."""

    kind: Literal["phase"] = "phase"
    phase: Phase


class EventReport(_Report):
    """Something the owner of the job should read."""

    kind: Literal["event"] = "event"
    level: Level
    message: Printable
    data: dict[str, Any] = {}


class ErrorReport(_Report):
    """Why the run ended, when it did not end well."""

    kind: Literal["error"] = "error"
    code: str
    message: Printable
    hint: str | None
    param: str | None


Report = MetricReport | SampleReport | CheckpointReport | PhaseReport | EventReport | ErrorReport
REPORT: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="kind")])
"""Parses one line."""
