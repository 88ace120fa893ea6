"""RMS norm and gated MLP that save only their inputs for the backward.

Autograd saves the inputs of each operation: a root-mean-square norm saves its states twice, before and after the
division, and a gated MLP four tensors of its width. Here a norm saves its states once and a gate the outputs of its
two projections; the backward recomputes the rest element by element.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from uniapl.model.cpu.linear import PLAIN_LINEAR, product

FLOATS = (torch.float32, torch.float64)
SILU = type(ACT2FN["silu"])


def use_memory_efficient_norm_and_mlp(model: PreTrainedModel) -> None:
    """Replace the forward of a model's norms and gated MLPs, where it is identical to Llama's.

    transformers copies layers into the file of each model, and most models have a copy of Llama's under another name.
    """
    for module in model.modules():
        if _computes_as(module, LlamaRMSNorm):
            module.forward = MethodType(_normalised, module)
        elif _computes_as(module, LlamaMLP) and type(module.act_fn) is SILU:
            module.forward = MethodType(_gated, module)


def _computes_as(module: torch.nn.Module, known: type[torch.nn.Module]) -> bool:
    """Whether the two forwards have the same bytecode."""
    a, b = (kind.forward.__code__ for kind in (type(module), known))
    return (a.co_code, a.co_consts, a.co_names) == (b.co_code, b.co_consts, b.co_names)


def _normalised(self: Any, hidden_states: Tensor) -> Tensor:
    """`LlamaRMSNorm.forward`."""
    if hidden_states.dtype not in FLOATS:  # it computes those in float32, and returns their dtype
        out: Tensor = type(self).forward(self, hidden_states)
        return out
    out = _Norm.apply(hidden_states, self.weight, self.variance_epsilon)  # type: ignore[no-untyped-call]
    return out


def _gated(self: Any, x: Tensor) -> Tensor:
    """`LlamaMLP.forward`; a last layer that is more than a matrix, such as an adapter, saves its own input."""
    gate, up, last = self.gate_proj(x), self.up_proj(x), self.down_proj
    is_plain = type(last) in PLAIN_LINEAR and last.bias is None and gate.dtype in FLOATS
    if not is_plain or torch.is_autocast_enabled("cpu"):
        out: Tensor = last(self.act_fn(gate) * up)
        return out
    out = _Gate.apply(gate, up, last.weight)  # type: ignore[no-untyped-call]
    return out


class _Norm(torch.autograd.Function):
    """x / sqrt(mean(x²) + eps) · weight (Zhang and Sennrich 2019, arXiv:1910.07467, equation 4)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:  # (..., D), (D,) to (..., D)
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        out: Tensor = (x * scale).mul_(weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        unit = x * scale
        along = outer * unit
        grad_weight = along.flatten(0, -2).sum(dim=0) if ctx.needs_input_grad[1] else None
        mean = (along @ weight).div_(x.shape[-1])[..., None]
        return torch.addcmul(outer * weight, unit, mean, value=-1).mul_(scale), grad_weight, None


class _Gate(torch.autograd.Function):
    """(silu(gate) · up) @ weight.T (Shazeer 2020, arXiv:2002.05202, equation 6)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:  # (..., F), (..., F), (D, F) to (..., D)
        ctx.save_for_backward(gate, up, weight)
        return product(silu(gate).mul_(up), weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        opened, grad_weight = silu(gate), None
        if ctx.needs_input_grad[2]:
            grad_weight = outer.flatten(0, -2).T @ (opened * up).flatten(0, -2)
        inner = product(outer, weight.T)
        grad_up = opened.mul_(inner)
        grad_gate = torch.ops.aten.silu_backward(inner.mul_(up), gate, grad_input=inner)
        return grad_gate, grad_up, grad_weight
