"""Who sees whom in a pack, as PyTorch's two kernels want to be told."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from uniapl.packs import Pack, visible

KERNEL = "uniapl"
"""The name under which transformers knows `attend`."""


def full_mask(pack: Pack, dtype: torch.dtype) -> Tensor:  # (R, 1, W, W)
    """Added to attention's scores: 0 where a token (second last dimension) sees another, minus infinity elsewhere.

    Of bool, the kernel would make this in every layer, and keep it for the backward.
    """
    rows, tokens = (torch.arange(n, device=pack.tree.device) for n in pack.input_ids.shape)
    seen = visible(pack.tree, pack.branch, rows[:, None, None], tokens[:, None], tokens)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)[:, None]


def tiles(pack: Pack) -> BlockMask:
    """The same for FlexAttention (arXiv:2412.05496), which leaves out tiles in which nothing is seen."""
    R, W = pack.input_ids.shape
    tree, branch = pack.tree, pack.branch

    def mask_mod(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return visible(tree, branch, row, query, key)

    return create_block_mask(mask_mod, B=R, H=None, Q_LEN=W, KV_LEN=W, device=str(pack.tree.device))


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """FlexAttention where the mask is made of tiles, the ordinary kernel where it is not: when sampling, say.

    The mask decides, not the model's configuration, because a recomputed block is run long after its forward.
    """
    if isinstance(attention_mask, BlockMask):  # it wants one dtype, and autocast leaves rotated tensors in float32
        query, key = query.to(value.dtype), key.to(value.dtype)
        return flex_attention_forward(module, query, key, value, attention_mask, **options)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


AttentionInterface.register(KERNEL, attend)
AttentionMaskInterface.register(KERNEL, sdpa_mask)
