"""Gradient checkpointing and compilation of a decoder's blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Protocol

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from uniapl.errors import SpecError
from uniapl.model.compiler import keep_buffers


class BlockOptions(Protocol):
    """How the decoder's blocks are trained; see `uniapl.spec.training.Resources`."""

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether each block is recomputed in the backward pass."""
        ...

    @property
    def compile_blocks(self) -> bool:
        """Whether each block is compiled."""
        ...


def decoder_blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The decoder's blocks as transformers identifies them; empty where it identifies none."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def wrap_blocks(model: torch.nn.Module, resources: BlockOptions) -> None:
    """Recompute or compile the decoder's blocks as `resources` selects, in forwards with a gradient.

    Sampling and evaluation run the blocks unchanged: they recompute nothing, and a cache that grows with every token
    would cause a compilation at every length.

    Raises:
        SpecError: transformers identifies no blocks in this model.
    """
    selected = [name for name in ("gradient_checkpointing", "compile_blocks") if getattr(resources, name)]
    blocks = decoder_blocks(model)
    if selected and not blocks:
        raise SpecError(
            f"resources.{selected[0]}: transformers identifies no decoder blocks in this student",
            hint="set it to false; to save memory, lower resources.micro_batch_tokens",
            param=f"resources.{selected[0]}",
        )
    if resources.compile_blocks:
        keep_buffers()
    for block in blocks if selected else ():
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
