"""Who sees whom in a pack, and attention that computes no more than that.

On a GPU FlexAttention leaves out the tiles in which nothing is seen. On a CPU each branch is attended to on its own
(`uniapl.model.cpu.tree_attention`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from uniapl.batching.packed import PackedBatch, can_attend
from uniapl.batching.packing import BLOCK
from uniapl.model.compiler import keep_buffers
from uniapl.model.kernels import kernels_for


def tree_mask(packed: PackedBatch) -> Tensor:  # (1, 1, 2, W)
    """Tree and branch of each token of the only row, in the shape of a mask, which models hand on as it is."""
    return torch.stack([packed.tree, packed.branch], dim=1)[:, None]


def block_mask(packed: PackedBatch) -> BlockMask:
    """The same for FlexAttention (arXiv:2412.05496), which leaves out tiles in which nothing is seen.

    Which tiles those are is told by the first and last tree and branch of each `BLOCK` tokens, so that nothing of the
    size of a mask, W x W, is ever held. A tile may be computed in which nothing is seen after all; none is left out.

    FlexAttention is compiled at its first call, and none comes before the tiles that it needs.
    """
    keep_buffers()
    tree, branch = packed.tree, packed.branch
    last_tree = torch.where(tree < 0, tree.amax(dim=1, keepdim=True) + 1, tree)  # padding stands last
    t0, t1 = _range(last_tree)
    b0, b1 = _range(branch)
    n = t0.shape[1]
    earlier = torch.ones(n, n, dtype=torch.bool, device=tree.device).tril()
    prompt = _keys(b0) == 0
    seen = earlier & _overlap(t0, t1) & (prompt | _overlap(b0, b1))
    one_tree = (_queries(t0) == _keys(t1)) & (_queries(t1) == _keys(t0))
    on_path = (_keys(b1) == 0) | ((_queries(b0) == _keys(b1)) & (_queries(b1) == _keys(b0)))
    whole = earlier.tril(-1) & one_tree & on_path

    def mask_mod(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return can_attend(tree, branch, row, query, key)

    found: BlockMask = BlockMask.from_kv_blocks(
        *_listed(seen & ~whole), *_listed(whole), BLOCK_SIZE=BLOCK, mask_mod=mask_mod
    )
    return found


def _range(numbers: Tensor) -> tuple[Tensor, Tensor]:  # (R, n), (R, n)
    """The least and the greatest of each tile of (R, n * BLOCK)."""
    by_tile = numbers.unflatten(1, (-1, BLOCK))
    return by_tile.amin(dim=2), by_tile.amax(dim=2)


def _queries(x: Tensor) -> Tensor:
    return x[:, :, None]


def _keys(x: Tensor) -> Tensor:
    return x[:, None, :]


def _overlap(least: Tensor, greatest: Tensor) -> Tensor:  # (R, n, n)
    """Whether the ranges of two tiles have a number in common."""
    return (_queries(least) <= _keys(greatest)) & (_keys(least) <= _queries(greatest))


def _listed(chosen: Tensor) -> tuple[Tensor, Tensor]:  # (R, 1, n), (R, 1, n, n)
    """How many tiles of keys there are for each tile of queries, and which, those first."""
    indices = chosen.int().argsort(dim=-1, descending=True, stable=True)
    return chosen.sum(dim=-1).int()[:, None], indices.int()[:, None]


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
        return kernels_for(query.device).tree_attention(query, key, value, attention_mask, scale), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


AttentionInterface.register("sdpa", attend)  # under its own name, by which models ask for much more than a kernel
