"""Linear layers multiplied by oneDNN, for AMD processors.

PyTorch contains oneDNN, but multiplies float32 matrices by MKL, which is slower than oneDNN on AMD's processors and
faster on Intel's (docs/benchmarks/products.md). The gradient of the weight uses MKL.
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
    """Whether the processor is one of AMD's and PyTorch has oneDNN's operator."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return CPUINFO.is_file() and "AuthenticAMD" in CPUINFO.read_text()


CHOSEN = onednn_is_faster()
"""Decided by the processor, not by a timing, so that a run on the same machine gives the same bits."""


class Linear(torch.nn.Linear):
    """`torch.nn.Linear` with oneDNN's product, for float32 on a CPU."""

    def forward(self, input: Tensor) -> Tensor:  # (..., inputs) to (..., outputs)
        """As `torch.nn.Linear`, which it calls under autocast."""
        if torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        out: Tensor = _Product.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


PLAIN_LINEAR = (torch.nn.Linear, Linear)
"""Layers that compute x @ weight.T + bias, and nothing else."""


def use_onednn_linear(model: PreTrainedModel) -> None:
    """Replace a model's linear layers by `Linear`, where oneDNN is faster."""
    if not CHOSEN:
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = Linear


def product(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """states @ weight.T + bias; by oneDNN for float32 on a CPU, where that is faster.

    Compiled blocks use PyTorch's product: oneDNN's operator is private, and Inductor lowers it for constant weights
    only.
    """
    if not CHOSEN or torch.compiler.is_compiling():
        return linear(states, weight, bias)
    if states.device.type != "cpu" or not states.dtype == weight.dtype == torch.float32:
        return linear(states, weight, bias)
    bias = None if bias is None else bias.contiguous()  # the operator ignores the strides of the bias
    out: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        needs_states, needs_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(states if needs_weight else None, weight if needs_states else None)
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
