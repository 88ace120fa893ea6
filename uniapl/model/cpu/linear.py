"""Linear layers of models on a CPU of AMD's, multiplied by oneDNN.

PyTorch brings it along, but multiplies float32 matrices by MKL, which is the slower of the two on AMD's processors and
the faster on Intel's (docs/benchmarks/products.md). The weight's gradient is left to MKL.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear
from transformers import PreTrainedModel

CPUINFO = Path("/proc/cpuinfo")


def onednn_is_faster() -> bool:
    """Whether this machine's processor is AMD's, and PyTorch has oneDNN's operator."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return CPUINFO.is_file() and "AuthenticAMD" in CPUINFO.read_text()


CHOSEN = onednn_is_faster()
"""A fact of the machine, not a race: the same run on the same machine gives the same bits."""


class Linear(torch.nn.Linear):
    """The same layer, on a CPU."""

    def forward(self, input: Tensor) -> Tensor:  # (..., inputs) to (..., outputs)
        """As `torch.nn.Linear`, which autocast is left to."""
        if torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        found: Tensor = _Product.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return found


PLAIN_LINEAR = (torch.nn.Linear, Linear)
"""Layers that are a matrix and a bias and no more."""


def use_onednn_linear(model: PreTrainedModel) -> None:
    """Make a model's linear layers into those above, where that is faster."""
    if not CHOSEN:
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = Linear


def product(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """states @ weight.T + bias; by oneDNN if they are float32 on a CPU, and that is faster.

    Not in blocks that are compiled: the operator is private, and Inductor lowers it with constant weights only.
    """
    if not CHOSEN or torch.compiler.is_compiling():
        return linear(states, weight, bias)
    if states.device.type != "cpu" or not states.dtype == weight.dtype == torch.float32:
        return linear(states, weight, bias)
    bias = None if bias is None else bias.contiguous()  # the operator reads its memory, whatever its strides
    found: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return found


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wants_states, wants_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(states if wants_weight else None, weight if wants_states else None)
        return product(states, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        rows = outer.reshape(-1, outer.shape[-1])
        return (
            None if weight is None else product(outer, weight.T),
            None if states is None else rows.T @ states.reshape(-1, states.shape[-1]),
            rows.sum(dim=0) if ctx.needs_input_grad[2] else None,
        )
