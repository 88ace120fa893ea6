"""What is done to a decoder's blocks when they are trained: recomputed in the backward, or compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from uniapl.spec.training import Resources


def wrap_blocks(model: torch.nn.Module, resources: Resources) -> None:
    """Recompute or compile the decoder's blocks as `resources` asks, in forwards that have a gradient.

    Sampling and evaluation go through the blocks as they are: they have nothing to recompute, and a cache whose length
    changes with every token would have them compiled again and again.
    """
    for block in [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]:
        plain: Callable[..., Any] = block.forward
        trained = plain
        if resources.compile_blocks:
            trained = torch.compile(trained, dynamic=True)
        if resources.gradient_checkpointing:
            trained = partial(checkpoint, trained, use_reentrant=False, preserve_rng_state=False)
        block.forward = _by_gradient(plain, trained)


def _by_gradient(plain: Callable[..., Any], trained: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return (trained if torch.is_grad_enabled() else plain)(*args, **kwargs)

    return forward
