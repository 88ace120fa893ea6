"""Who sees whom in a pack, and attention that computes no more than that.

On a GPU FlexAttention leaves out the tiles in which nothing is seen. On a CPU each branch is attended to on its own
(`uniapl.along`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from uniapl.along import attend_along
from uniapl.packs import Pack, visible


def paths(pack: Pack) -> Tensor:  # (1, 1, 2, W)
    """Tree and branch of each token of the only row, in the shape of a mask, which models hand on as it is."""
    return torch.stack([pack.tree, pack.branch], dim=1)[:, None]


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
    """What the mask asks for: tiles, paths, or the ordinary kernel, when sampling, say.

    The mask decides, not the model's configuration, because a recomputed block is run long after its forward.
    """
    if isinstance(attention_mask, BlockMask):  # it wants one dtype, and autocast leaves rotated tensors in float32
        query, key = query.to(value.dtype), key.to(value.dtype)
        return flex_attention_forward(module, query, key, value, attention_mask, **options)
    if attention_mask is not None and attention_mask.dtype == torch.long:
        scale = options.get("scaling") or query.shape[-1] ** -0.5
        return attend_along(query, key, value, attention_mask, scale), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


AttentionInterface.register("sdpa", attend)  # under its own name, by which models ask for much more than a kernel
