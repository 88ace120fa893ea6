"""Answers whose models live with the service; fields beyond those used here are kept."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

from uniapl.spec.resources import Output


class _Open(Output):
    model_config = ConfigDict(extra="allow")


class Upload(_Open):
    """A file that is being uploaded in pieces."""

    id: str
    """`up_…`"""
    bytes: int
    """Size of the whole file."""
    offset: int
    """Bytes that have arrived."""


class Validation(_Open):
    """Whether a spec would be accepted."""

    valid: bool
    """Whether it would."""
    problems: list[dict[str, Any]] = []
    """What would have to change: `param`, `code`, `message`, `hint`."""
    warnings: list[dict[str, Any]] = []
    """What is allowed, and probably not meant."""


class Estimate(_Open):
    """Rows, tokens, memory and time of a job, before it is queued."""


class DatasetPreview(_Open):
    """The first rows of a dataset."""


class DatasetStatistics(_Open):
    """Lengths of a dataset's rows."""
