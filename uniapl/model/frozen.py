"""Frozen linear layers with weights in the precision of matrix products, half the memory of float32 on a GPU.

Autocast would round frozen weights at every use, so the results under it are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from uniapl.model.kernels import kernels_for


class FrozenLinear(torch.nn.Linear):
    """`torch.nn.Linear` with a weight of lower precision than its input may have."""

    loaded: torch.dtype = torch.float32
    """Type of the weight before rounding."""
    exact: Tensor | None = None
    """The weight before rounding, on the CPU, if rounding changed it and it is needed again."""

    def forward(self, input: Tensor) -> Tensor:  # (..., inputs) to (..., outputs)
        """As `torch.nn.Linear`; without autocast the product is in the precision of the input."""
        if torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        return linear(input, self.weight.to(input.dtype), self.bias)

    def loaded_weight(self) -> Tensor:
        """The weight before rounding, if that is kept or equal, on the layer's device."""
        return (self.weight if self.exact is None else self.exact).to(self.weight.device, self.loaded)


def round_frozen(model: Any, *, keep_exact: bool) -> None:
    """Round the frozen weights of linear layers to the precision of products on the model's device.

    Embeddings and norms are unchanged, as is a head that shares its weight with the embeddings.

    Args:
        model: a student, with adapters or without.
        keep_exact: keep a copy of weights that rounding changes in the memory of the CPU, to merge adapters into them.
    """
    known = kernels_for(model.device)
    if known.precision == torch.float32:
        return
    embedded = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    rounded: dict[int, torch.nn.Parameter] = {}  # layers may share a weight
    for module in model.modules():
        if type(module) not in known.plain_linear or module.weight.requires_grad or id(module.weight) in embedded:
            continue
        weight = module.weight
        half = rounded.setdefault(id(weight), torch.nn.Parameter(weight.to(known.precision), requires_grad=False))
        module.__class__ = FrozenLinear
        module.loaded, module.weight = weight.dtype, half
        if keep_exact and not torch.equal(half.to(weight.dtype), weight):
            module.exact = weight.detach().cpu()
