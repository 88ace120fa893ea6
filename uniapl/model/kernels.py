"""Operators of a student's forward that depend on the device, selected once by the device's type.

PyTorch's own operators run everywhere. A CPU has faster ones in `uniapl.model.cpu`; this file alone imports them, when
a student is loaded on a CPU, so that a run on a GPU contains none of that code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel

from uniapl.batching.packing import Layout, chunk_logits, fastest_layout


@dataclass(frozen=True)
class Kernels:
    """The operators for one type of device."""

    layout: Layout
    """The fastest layout of sequences."""
    plain_linear: tuple[type[torch.nn.Module], ...]
    """Layers that compute `linear`, and nothing else."""
    linear: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    """states (N, D), weight (V, D), bias (V,) to states @ weight.T + bias, (N, V)."""
    tree_attention: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
    """query, key, value, tree mask, scale; see `uniapl.model.cpu.tree_attention`."""
    prepare_model: Callable[[PreTrainedModel], None]
    """Replaces layers of a loaded model by faster ones, with the same weights."""
    prepare_process: Callable[[], None]
    """Adapts the process to training; called once, before models are loaded."""
    precision: torch.dtype
    """Type of matrix products under `uniapl.model.logprobs.precision`."""
    chunk_logits: int
    """Logits that `uniapl.model.lm_head` computes at a time."""


SELECTED: dict[str, Kernels] = {}
"""Kernels by device type, filled at first use. A dictionary, since torch's compiler cannot trace `functools.cache`."""


def kernels_for(device: torch.device) -> Kernels:
    """The operators for tensors on this device."""
    if device.type not in SELECTED:
        SELECTED[device.type] = _load(device.type)
    return SELECTED[device.type]


def _load(device_type: str) -> Kernels:
    if device_type == "cpu":
        from uniapl.model.cpu.kernels import CPU

        return CPU
    return PORTABLE


def _no_tree_attention(query: Tensor, key: Tensor, value: Tensor, path: Tensor, scale: float) -> Tensor:
    raise NotImplementedError(f"layout 'trees' needs a CPU, not {query.device.type}")


PORTABLE = Kernels(
    layout=fastest_layout(gpu=True),
    plain_linear=(torch.nn.Linear,),
    linear=linear,
    tree_attention=_no_tree_attention,
    prepare_model=lambda model: None,
    prepare_process=lambda: None,
    precision=torch.bfloat16,
    chunk_logits=chunk_logits(gpu=True),
)
"""PyTorch's operators, on any device."""
