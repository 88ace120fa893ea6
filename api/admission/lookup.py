"""What a spec names, looked up here: datasets and models."""

from __future__ import annotations

from sqlalchemy.orm import Session

from store.datasets import repository as datasets
from store.errors import NotFound
from store.model_registry import Registry
from store.tables import Dataset
from uniapl.errors import SpecError
from uniapl.run.config import ModelSource
from uniapl.run.registry import Kind
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import DatasetContents


def mixed(spec: JobSpec) -> list[tuple[str, str]]:
    """The datasets of the mix: field and id."""
    return [(f"dataset_mix.{i}.dataset", entry.dataset) for i, entry in enumerate(spec.dataset_mix)]


def find_dataset(session: Session, dataset_id: str, param: str, *, hold: bool = False) -> Dataset:
    """One dataset; with `hold` it cannot be deleted before the session's transaction is over.

    Raises:
        SpecError: there is none; `param` is the field that names it.
    """
    try:
        return datasets.use(session, dataset_id) if hold else datasets.get(session, dataset_id)
    except NotFound:
        raise SpecError(
            f"unknown dataset {dataset_id!r}",
            param=param,
            hint="upload it with POST /datasets and use the id from the answer",
        ) from None


def contents(session: Session, dataset_id: str, param: str, *, hold: bool = False) -> DatasetContents:
    """What the rows of a dataset carry; holds it and raises as `find_dataset`."""
    dataset = find_dataset(session, dataset_id, param, hold=hold)
    return DatasetContents(dataset.rows, dataset.references, dataset.rewards)


def find_student(registry: Registry, name: str) -> dict[str, ModelSource]:
    """Where the student is.

    Raises:
        SpecError: it is unknown, or of another kind.
    """
    return {name: registry.resolve(name, "student", "student")}


def check_sampler(spec: JobSpec, student: ModelSource) -> None:
    """Raises `SpecError` if a server would have to load a student that it cannot read."""
    if "rollout" in spec.servers and spec.lora is not None and student.gguf is not None:
        raise SpecError(
            "the server that samples adds adapters to the student itself, whose GGUF file it cannot load",
            param="rollout.backend",
            hint="train all weights, which are handed over as they are; or sample in the trainer",
        )


def find_discriminator(registry: Registry, spec: JobSpec) -> dict[str, ModelSource]:
    """Where the discriminator is, if the spec uses one; a learned one starts from a language model, as students do.

    Raises:
        SpecError: it is unknown, or of another kind.
    """
    name = spec.discriminator.model
    if not spec.uses_discriminator or name is None:
        return {}
    kind: Kind = "student" if spec.discriminator.type == "learned" else "discriminator"
    return {name: registry.resolve(name, kind, "discriminator.model")}
