"""The student's linear layers on a CPU, multiplied by oneDNN.

PyTorch brings it along, but multiplies float32 matrices by MKL, which is slower on AMD's processors (figures:
docs/benchmarks/rollout.md). The weight's gradient is left to MKL, which is as fast in that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel


class Linear(torch.nn.Linear):
    """The same layer, on a CPU."""

    def forward(self, states: Tensor) -> Tensor:  # (..., inputs) to (..., outputs)
        """As `torch.nn.Linear`, which still computes what is not float32."""
        if states.dtype != torch.float32 or self.weight.dtype != torch.float32:
            return super().forward(states)
        found: Tensor = _Product.apply(states, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return found


def multiply_by_onednn(model: PreTrainedModel) -> None:
    """Make a model's linear layers into those above, where PyTorch was built with oneDNN."""
    if torch.backends.mkldnn.is_available():
        for module in model.modules():
            if type(module) is torch.nn.Linear:
                module.__class__ = Linear


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(states, weight)
        return _product(states, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        wants_states, wants_weight, wants_bias = ctx.needs_input_grad
        rows = outer.reshape(-1, outer.shape[-1])
        return (
            _product(outer, weight.T, None) if wants_states else None,
            rows.T @ states.reshape(-1, states.shape[-1]) if wants_weight else None,
            rows.sum(dim=0) if wants_bias else None,
        )


def _product(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """states @ weight.T + bias."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return found
