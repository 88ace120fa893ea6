"""Merging of adapters into their weights, under the names of the student without adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor

NAME = "default"
"""Name of a student's only adapter."""


@dataclass(frozen=True)
class Merged:
    """A weight with the adapters to add to it."""

    like: Tensor
    adapters: tuple[Any, ...] = ()

    @property
    def origin(self) -> object:
        """Equal for two names of the same weight."""
        return self.like.data_ptr(), self.like.shape, tuple(map(id, self.adapters))

    @torch.no_grad()
    def tensor(self) -> Tensor:
        """The merged weight; a copy if there are adapters."""
        value = self.like
        for adapter in self.adapters:
            value = value + adapter.get_delta_weight(NAME)
        return value


def merged(student: Any) -> dict[str, Merged]:
    """The student's parameters and buffers by their names without adapters."""
    weights = {}
    for name, value in student.state_dict().items():
        if (place := _place(student, name)) is not None:
            plain, adapters = place
            weights[plain] = Merged(value, adapters)
    return weights


def adapted_parameter(adapter: Any) -> str:
    """Name of the parameter of the base layer that an adapter changes."""
    return adapter.parameter_name if isinstance(adapter, ParamWrapper) else "weight"


def _place(student: Any, name: str) -> tuple[str, tuple[Any, ...]] | None:
    """A parameter's name without adapters, and the adapters that change it; `None` for a parameter of an adapter.

    A layer may be wrapped several times, once for each of its parameters.
    """
    *path, parameter = name.split(".")
    module, plain, wrappers = student, list[str](), list[Any]()
    for part in path:
        if not isinstance(module, LoraLayer):
            plain, wrappers = [*plain, part], []
        elif part == "base_layer":
            wrappers.append(module)
        else:
            return None
        module = module.get_submodule(part)
    if isinstance(module, LoraLayer):
        return None
    return ".".join([*plain, parameter]), tuple(w for w in wrappers if adapted_parameter(w) == parameter)
