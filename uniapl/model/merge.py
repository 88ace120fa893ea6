"""Merging of adapters into their weights, under the names of the student without adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor

from uniapl.model.frozen import FrozenLinear

NAME = "default"
"""Name of a student's only adapter."""


@dataclass(frozen=True)
class Merged:
    """A weight with the adapters to add to it."""

    weight: Tensor
    adapters: tuple[Any, ...] = ()
    layer: FrozenLinear | None = None
    """Its layer, which holds the weight in lower precision than the merged one has."""

    @property
    def like(self) -> Tensor:
        """A tensor of the shape and type of the merged weight."""
        return self.weight if self.layer is None else self.weight.to("meta", self.layer.loaded)

    @property
    def origin(self) -> object:
        """Equal for two names of the same weight."""
        return self.weight.data_ptr(), self.weight.shape, tuple(map(id, self.adapters))

    @torch.no_grad()
    def tensor(self) -> Tensor:
        """The merged weight; a copy if there are adapters."""
        value = self.weight if self.layer is None else self.layer.loaded_weight()
        for adapter in self.adapters:
            value = value + adapter.get_delta_weight(NAME)
        return value


def merged(student: Any) -> dict[str, Merged]:
    """The student's parameters and buffers by their names without adapters."""
    weights = {}
    for name, value in student.state_dict().items():
        if (place := _place(student, name)) is not None:
            plain, adapters, module = place
            rounded = module if isinstance(module, FrozenLinear) and name.endswith("weight") else None
            weights[plain] = Merged(value, adapters, rounded)
    return weights


def adapted_parameter(adapter: Any) -> str:
    """Name of the parameter of the base layer that an adapter changes."""
    return adapter.parameter_name if isinstance(adapter, ParamWrapper) else "weight"


def _place(student: Any, name: str) -> tuple[str, tuple[Any, ...], Any] | None:
    """A parameter's name without adapters, the adapters that change it, and its module; `None` for an adapter's own.

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
    return ".".join([*plain, parameter]), tuple(w for w in wrappers if adapted_parameter(w) == parameter), module
