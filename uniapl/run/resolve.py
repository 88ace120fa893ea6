"""Resolution of the models and datasets of a run.json to paths and sources."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

from uniapl.errors import DatasetError
from uniapl.run.config import RunConfig
from uniapl.run.registry import read_registry, registry_file, sources
from uniapl.spec.files import datasets_of, find, not_found

SPEC = "spec.json"
"""The resolved spec in a checkpoint."""


def resolve(run: RunConfig, folder: Path) -> RunConfig:
    """The run with a source for every model, a path for every dataset, a sampler and a date, where it names none.

    Args:
        run: as it was read.
        folder: the folder of run.json.

    Raises:
        SpecError: the registry cannot be read, or a model is registered with another kind.
        DatasetError: a dataset's file does not exist.
    """
    datasets = {name: _file(name, param, folder) for param, name in datasets_of(run.spec).items()
                if name not in run.datasets}  # fmt: skip
    models = run.models if _complete(run) else sources(run.spec, read_registry(registry_file())) | run.models
    spec = run.spec.with_backend(vllm=False)  # a worker has chosen already; without one no server can be started
    spec = spec.with_date(_date(run))
    return run.model_copy(update={"spec": spec, "datasets": datasets | run.datasets, "models": models})


def _date(run: RunConfig) -> date:
    """The date of the checkpoint's run where one is resumed, else today's."""
    if run.resume_from is not None:
        with suppress(OSError, ValueError, LookupError, TypeError):  # of a release that stored none
            return date.fromisoformat(json.loads((Path(run.resume_from) / SPEC).read_text())["data"]["date"])
    return datetime.now(UTC).date()


def _complete(run: RunConfig) -> bool:
    """Whether the launcher gives every model, as the service does; the registry is not read then."""
    discriminator = run.spec.discriminator.model if run.spec.uses_discriminator else None
    return {run.spec.student, discriminator or run.spec.student} <= run.models.keys()


def _file(name: str, param: str, folder: Path) -> str:
    if Path(name).is_absolute():
        return name
    if (path := find(name, folder)) is None:
        hint = "correct the path; it is relative to the folder of run.json or else to the working directory"
        raise DatasetError(not_found(name, folder), param=param, hint=hint)
    return str(path)
