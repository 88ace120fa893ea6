"""Lookup of the datasets and models that a job spec names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from store.datasets import repository as datasets
from store.errors import NotFound
from store.model_registry import Registry
from store.tables import Dataset
from uniapl.errors import SpecError
from uniapl.estimate import vllm_obstacle
from uniapl.run.config import ModelSource
from uniapl.run.registry import Kind
from uniapl.run.student_config import check_student_config
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import DatasetContents


def mixed(spec: JobSpec) -> list[tuple[str, str]]:
    """Field and id of each dataset of the mix."""
    return [(f"dataset_mix.{i}.dataset", entry.dataset) for i, entry in enumerate(spec.dataset_mix)]


def find_dataset(session: Session, dataset_id: str, param: str, *, hold: bool = False) -> Dataset:
    """One dataset; with `hold` it cannot be deleted before the session's transaction ends.

    Raises:
        SpecError: it does not exist; `param` is the field that names it.
    """
    try:
        return datasets.use(session, dataset_id) if hold else datasets.get(session, dataset_id)
    except NotFound:
        raise SpecError(
            f"unknown dataset {dataset_id!r}",
            param=param,
            hint="upload it with POST /datasets and use the id of the response",
        ) from None


def contents(session: Session, dataset_id: str, param: str, *, hold: bool = False) -> DatasetContents:
    """Numbers of rows, references and rewards of a dataset; holds it and raises as `find_dataset`."""
    dataset = find_dataset(session, dataset_id, param, hold=hold)
    return DatasetContents(dataset.rows, dataset.references, dataset.rewards)


def find_student(registry: Registry, name: str) -> dict[str, ModelSource]:
    """Where the student is.

    Raises:
        SpecError: it is unknown, or a model of another kind.
        ModelError: its config describes a kind that cannot be trained.
    """
    source = registry.resolve(name, "student", "student")
    if isinstance(config := _config(registry, source), dict):
        check_student_config(config)
    return {name: source}


def _config(registry: Registry, source: ModelSource) -> Any:
    """The parsed `config.json` of a student; `None` where it cannot be read here or is not the student's own."""
    if source.gguf is not None:
        return None
    if source.path is None:
        return registry.hub_config(source)
    try:
        return json.loads((Path(source.path) / "config.json").read_text())
    except (OSError, ValueError):
        return None


def check_sampler(spec: JobSpec, student: ModelSource) -> None:
    """Check that the server that samples can load the student.

    Raises:
        SpecError: it cannot.
    """
    obstacle = vllm_obstacle(spec, student) if "rollout" in spec.servers else None
    if obstacle is not None:
        raise SpecError(
            f"the server of rollout.backend cannot sample: {obstacle}",
            param="rollout.backend",
            hint="remove rollout.backend to sample in the trainer, or change the option that the message names",
        )


def find_discriminator(registry: Registry, spec: JobSpec) -> dict[str, ModelSource]:
    """Where the discriminator is, if the spec uses one; a learned one starts from a language model, as students do.

    Raises:
        SpecError: it is unknown, or a model of another kind.
    """
    name = spec.discriminator.model
    if not spec.uses_discriminator or name is None:
        return {}
    kind: Kind = "student" if spec.discriminator.type == "learned" else "discriminator"
    return {name: registry.resolve(name, kind, "discriminator.model")}
