"""The names a spec may use for models, from a registry file: `{"name": {"kind": …, "path" | "hub": …}}`."""

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
    """A model and what it may be used for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    hub: str | None = None
    revision: str | None = None
    path: str | None = None
    gguf: str | None = None

    @property
    def source(self) -> ModelSource:
        """Where its weights are."""
        return ModelSource(hub=self.hub, revision=self.revision, path=self.path, gguf=self.gguf)


_FILE = TypeAdapter(dict[str, RegisteredModel])


def registry_file() -> Path:
    """The file that the service reads too: `UNIAPL_MODELS_FILE`, or `models.json` in the working directory."""
    return Path(os.environ.get("UNIAPL_MODELS_FILE", "models.json"))


def read_registry(path: Path) -> dict[str, RegisteredModel]:
    """The registry file with its paths, which are relative to its folder, made absolute; empty if there is no file.

    Raises:
        SpecError: it cannot be read.
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
    """Where each model that the spec uses is.

    Raises:
        SpecError: a name is registered as something else.
    """
    found = {spec.student: _source(spec.student, ("student",), "student", registry)}
    if spec.uses_discriminator and spec.discriminator.model is not None:
        found[spec.discriminator.model] = discriminator_source(spec, registry)
    return found


def discriminator_source(spec: JobSpec, registry: Mapping[str, RegisteredModel]) -> ModelSource:
    """Where the discriminator is; a learned one that names no model starts from the student.

    Raises:
        SpecError: the name is registered as something else.
    """
    kinds: tuple[Kind, ...] = ("student", "discriminator") if spec.discriminator.trained else ("discriminator",)
    return _source(spec.discriminator.model or spec.student, kinds, "discriminator.model", registry)


def _source(name: str, kinds: tuple[Kind, ...], param: str, registry: Mapping[str, RegisteredModel]) -> ModelSource:
    """A name that is not registered is a folder if there is one, else a hub id."""
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
