"""The first rows of a job as its student's chat template renders them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from api.admission import lookup
from api.auth import Caller
from store.artifacts.base import StorageUnavailable
from store.datasets.statistics import first_rows
from uniapl.data.preview import Rendered, render_rows
from uniapl.run.config import ModelSource
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import uses_references

ROWS = 100
"""Number of rows of each dataset that are rendered."""
log = logging.getLogger(__name__)


def rendered(caller: Caller, spec: JobSpec, student: ModelSource) -> Iterator[Rendered]:
    """The first rows of each dataset of the mix, or the reason why they cannot be rendered here."""
    if (reason := _missing(spec, student)) is not None:
        yield Rendered(missing=reason)
        return
    folder = Path(student.path or "")
    for (_, name), entry in zip(lookup.mixed(spec), spec.dataset_mix, strict=True):
        try:
            rows = first_rows(caller.service.artifacts.fetched(name), ROWS)
        except (FileNotFoundError, StorageUnavailable):
            yield Rendered(missing=f"the rows of dataset {name} cannot be read; retry")
            continue
        named = [(row.id or f"row-{i}", row) for i, row in enumerate(rows) if isinstance(row, DatasetRow)]
        try:
            yield render_rows(named, folder, spec.data, references=uses_references(spec, entry.role))
        except (ImportError, OSError) as error:
            log.info("no rows are rendered: %s", error)
            yield Rendered(missing="this API cannot read the student's tokenizer; the trainer checks the rows")
            return


def _missing(spec: JobSpec, student: ModelSource) -> str | None:
    """Why rows of a student cannot be rendered here.

    A template of the user is rendered by trainers only, because it can take any amount of time.
    """
    if spec.data.chat_template not in (None, "plain"):
        return "trainers only render data.chat_template; the trainer checks the rows"
    if student.gguf is not None:
        return "trainers only read the tokenizer of a GGUF file; the trainer checks the rows"
    if student.path is None or not (Path(student.path) / "tokenizer.json").is_file():
        return "the student's tokenizer.json is not on the API's machine; the trainer checks the rows"
    return None
