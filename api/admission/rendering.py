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
    """The first rows of each dataset of the mix; nothing where the student's tokenizer is not on this machine.

    A template of the user is rendered by trainers only, because it can take any amount of time.
    """
    if spec.data.chat_template not in (None, "plain"):
        return
    folder = Path(student.path or "")
    if student.path is None or student.gguf is not None or not (folder / "tokenizer.json").is_file():
        return
    for (_, name), entry in zip(lookup.mixed(spec), spec.dataset_mix, strict=True):
        try:
            rows = first_rows(caller.service.artifacts.fetched(name), ROWS)
        except (FileNotFoundError, StorageUnavailable):
            continue
        named = [(row.id or f"row-{i}", row) for i, row in enumerate(rows) if isinstance(row, DatasetRow)]
        try:
            yield render_rows(named, folder, spec.data, references=uses_references(spec, entry.role))
        except (ImportError, OSError) as error:
            log.info("no rows are rendered: %s", error)
            return
