"""Answers whose models live with the service; fields beyond those used here are kept."""

from __future__ import annotations

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


class DatasetPreview(_Open):
    """The first rows of a dataset."""


class DatasetStatistics(_Open):
    """Lengths of a dataset's rows."""
