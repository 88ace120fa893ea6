"""Dataset files of a spec file, relative to its folder or else to the working directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from uniapl.spec.job import JobSpec


def datasets_of(spec: JobSpec) -> dict[str, str]:
    """Dataset names of a spec, by field path."""
    found = {f"dataset_mix.{i}.dataset": entry.dataset for i, entry in enumerate(spec.dataset_mix)}
    return found | ({"evaluation.dataset": spec.evaluation.dataset} if spec.evaluation else {})


def find(name: str, folder: Path) -> Path | None:
    """The file of a dataset; `None` if it does not exist.

    Args:
        name: dataset name in the spec.
        folder: folder of the spec file.
    """
    return next((path for path in (folder / name, Path(name)) if os.path.isfile(path)), None)


def is_path(name: str) -> bool:
    """Whether a name must be a path: dataset ids have no folder and no suffix."""
    return Path(name).name != name or bool(Path(name).suffix)


def not_found(name: str, folder: Path) -> str:
    """Error message with the paths that `find` tried."""
    places = dict.fromkeys(str(path.absolute()) for path in (folder / name, Path(name)))
    return f"cannot read dataset {name}: no file at {' or '.join(places)}"


def renamed(spec: JobSpec, name_of: Callable[[str], str]) -> JobSpec:
    """The spec with each dataset name replaced by `name_of(name)`."""
    mix = [entry.model_copy(update={"dataset": name_of(entry.dataset)}) for entry in spec.dataset_mix]
    evaluation = spec.evaluation
    if evaluation is not None:
        evaluation = evaluation.model_copy(update={"dataset": name_of(evaluation.dataset)})
    return spec.model_copy(update={"dataset_mix": mix, "evaluation": evaluation})
