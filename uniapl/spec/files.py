"""The files that a spec file names its datasets by: relative to its own folder, or else to the working directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from uniapl.spec.job import JobSpec


def datasets_of(spec: JobSpec) -> dict[str, str]:
    """The name of each dataset of a spec, by its field."""
    found = {f"dataset_mix.{i}.dataset": entry.dataset for i, entry in enumerate(spec.dataset_mix)}
    return found | ({"evaluation.dataset": spec.evaluation.dataset} if spec.evaluation else {})


def find(name: str, folder: Path) -> Path | None:
    """The file of a dataset; `None` where there is none.

    Args:
        name: as the spec has it.
        folder: the one that the spec file is in.
    """
    return next((path for path in (folder / name, Path(name)) if os.path.isfile(path)), None)


def is_path(name: str) -> bool:
    """Whether a name can be nothing but a file's path: ids of datasets have neither folder nor ending."""
    return Path(name).name != name or bool(Path(name).suffix)


def not_found(name: str, folder: Path) -> str:
    """Where `find` has looked, in words."""
    places = dict.fromkeys(str(path.absolute()) for path in (folder / name, Path(name)))
    return f"cannot read dataset {name}: there is no file {' and no file '.join(places)}"


def renamed(spec: JobSpec, name_of: Callable[[str], str]) -> JobSpec:
    """A spec whose datasets have other names."""
    mix = [entry.model_copy(update={"dataset": name_of(entry.dataset)}) for entry in spec.dataset_mix]
    evaluation = spec.evaluation
    if evaluation is not None:
        evaluation = evaluation.model_copy(update={"dataset": name_of(evaluation.dataset)})
    return spec.model_copy(update={"dataset_mix": mix, "evaluation": evaluation})
