"""What is done to a decoder's blocks when they are trained: recomputed in the backward, or compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from uniapl.errors import SpecError
from uniapl.model.compiler import keep_buffers
from uniapl.spec.training import Resources


def wrap_blocks(model: torch.nn.Module, resources: Resources) -> None:
    """Recompute or compile the decoder's blocks as `resources` asks, in forwards that have a gradient.

    Sampling and evaluation go through the blocks as they are: they have nothing to recompute, and a cache whose length
    changes with every token would have them compiled again and again.

    Raises:
        SpecError: transformers knows no blocks of this model.
    """
    asked = [name for name in ("gradient_checkpointing", "compile_blocks") if getattr(resources, name)]
    blocks = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if asked and not blocks:
        raise SpecError(
            f"resources.{asked[0]}: the blocks of this student cannot be told apart",
            hint="leave it off, and lower resources.micro_batch_tokens where memory is short",
            param=f"resources.{asked[0]}",
        )
    if resources.compile_blocks:
        keep_buffers()
    for block in blocks if asked else ():
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
