"""The model registry: a file of the names that a spec may use, `{"name": {"kind": …, "path" | "hub": …}}`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from uniapl.errors import SpecError
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec

Kind = Literal["student", "discriminator"]


class RegisteredModel(BaseModel):
    """A model, and its permitted use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    hub: str | None = None
    revision: str | None = None
    path: str | None = None
    gguf: str | None = None

    @property
    def source(self) -> ModelSource:
        """The source of the weights."""
        return ModelSource(hub=self.hub, revision=self.revision, path=self.path, gguf=self.gguf)


_FILE = TypeAdapter(dict[str, RegisteredModel])


def registry_file() -> Path:
    """Path of the registry, as in the service: `UNIAPL_MODELS_FILE`, or `models.json` in the working directory."""
    return Path(os.environ.get("UNIAPL_MODELS_FILE", "models.json"))


def read_registry(path: Path) -> dict[str, RegisteredModel]:
    """The registry with absolute paths (in the file, they are relative to its folder); empty without a file.

    Raises:
        SpecError: the file cannot be read.
    """
    try:
        found = _FILE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise SpecError(f"cannot read the model registry {path}: {error}") from None
    folder = path.absolute().parent
    return {
        name: model.model_copy(update={"path": str(folder / model.path)}) if model.path else model
        for name, model in found.items()
    }


def sources(spec: JobSpec, registry: Mapping[str, RegisteredModel]) -> dict[str, ModelSource]:
    """The source of each model that the spec uses.

    Raises:
        SpecError: a name is registered with another kind.
    """
    found = {spec.student: _source(spec.student, ("student",), "student", registry)}
    if spec.uses_discriminator and spec.discriminator.model is not None:
        found[spec.discriminator.model] = discriminator_source(spec, registry)
    return found


def discriminator_source(spec: JobSpec, registry: Mapping[str, RegisteredModel]) -> ModelSource:
    """The discriminator's source; one that is trained may start from the student, and does so without a name.

    Raises:
        SpecError: the name is registered with another kind.
    """
    kinds: tuple[Kind, ...] = ("student", "discriminator") if spec.discriminator.trained else ("discriminator",)
    return _source(spec.discriminator.model or spec.student, kinds, "discriminator.model", registry)


def _source(name: str, kinds: tuple[Kind, ...], param: str, registry: Mapping[str, RegisteredModel]) -> ModelSource:
    """The source of a name; an unregistered name is a folder if it exists, else a hub id."""
    if name not in registry:
        return ModelSource(path=name) if Path(name).is_dir() else ModelSource(hub=name)
    model = registry[name]
    if model.kind not in kinds:
        known = ", ".join(sorted(other for other in registry if registry[other].kind in kinds))
        raise SpecError(
            f"{name} is a {model.kind}, not a {kinds[0]}",
            param=param,
            hint=f"registered {kinds[0]}s: {known or 'none'}",
        )
    return model.source
