"""Attention masks for packed batches, and the attention function that skips fully masked regions.

On a GPU FlexAttention skips fully masked tiles. On a CPU attention is computed branch by branch
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
from uniapl.batching.packing import BLOCK, TileSize
from uniapl.model.compiler import keep_buffers
from uniapl.model.kernels import kernels_for
from uniapl.model.shared_prompts import attend_to_prompts

TILES: dict[TileSize, dict[str, int]] = {
    "default": {},
    "small": {
        "fwd_BLOCK_M": 64,
        "fwd_BLOCK_N": 32,
        "fwd_num_stages": 1,
        "bwd_BLOCK_M1": 32,
        "bwd_BLOCK_N1": 32,
        "bwd_BLOCK_M2": 32,
        "bwd_BLOCK_N2": 32,
        "bwd_num_stages": 1,
    },
    "smallest": {
        "fwd_BLOCK_M": 32,
        "fwd_BLOCK_N": 16,
        "fwd_num_stages": 1,
        "bwd_BLOCK_M1": 16,
        "bwd_BLOCK_N1": 16,
        "bwd_BLOCK_M2": 16,
        "bwd_BLOCK_N2": 16,
        "bwd_num_stages": 1,
    },
}
"""Options of FlexAttention's kernels (`torch.nn.attention.flex_attention.FlexKernelOptions`), the fastest first.

The default is torch's choice, made for an A100 or H100: with heads of 128 it needs 131 kB of shared memory per thread
block, of which an RTX 4090 has 101 kB. A forward tile holds M queries and N keys and values for each stage: `small`
needs 32 kB in bfloat16 and 64 kB in float32, `smallest` half of that. Sizes divide `BLOCK`; N1 is a multiple of M1, and
M2 one of N2.
"""


class TiledMask(BlockMask):
    """A block mask with the options of the kernels that compute attention under it."""

    kernel_options: dict[str, int]


def tree_mask(packed: PackedBatch) -> Tensor:  # (1, 1, 2, W)
    """Tree and branch of each token of the single row; models pass a mask of four dimensions on unchanged."""
    return torch.stack([packed.tree, packed.branch], dim=1)[:, None]


def block_mask(packed: PackedBatch) -> TiledMask:
    """The mask for FlexAttention (arXiv:2412.05496), which skips fully masked tiles.

    The first and last tree and branch of each `BLOCK` tokens decide whether a tile is computed, so that no mask of
    W x W is ever in memory. A computed tile may turn out fully masked; a skipped tile never holds an unmasked pair.

    FlexAttention is compiled at its first call, which needs this mask, so the compiler is configured here.
    """
    keep_buffers()
    tree, branch = packed.tree, packed.branch
    last_tree = torch.where(tree < 0, tree.amax(dim=1, keepdim=True) + 1, tree)  # padding comes last
    t0, t1 = _range(last_tree)
    b0, b1 = _range(branch)
    n = t0.shape[1]
    earlier = torch.ones(n, n, dtype=torch.bool, device=tree.device).tril()
    prompt = _keys(b0) == 0
    partial = earlier & _overlap(t0, t1) & (prompt | _overlap(b0, b1))
    one_tree = (_queries(t0) == _keys(t1)) & (_queries(t1) == _keys(t0))
    on_path = (_keys(b1) == 0) | ((_queries(b0) == _keys(b1)) & (_queries(b1) == _keys(b0)))
    whole = earlier.tril(-1) & one_tree & on_path

    def mask_mod(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return can_attend(tree, branch, row, query, key)

    mask: TiledMask = TiledMask.from_kv_blocks(
        *_listed(partial & ~whole), *_listed(whole), BLOCK_SIZE=BLOCK, mask_mod=mask_mod
    )
    mask.kernel_options = TILES[packed.layout.tiles]
    return mask


def _range(numbers: Tensor) -> tuple[Tensor, Tensor]:  # (R, n), (R, n)
    """Minimum and maximum of each tile of (R, n * BLOCK)."""
    by_tile = numbers.unflatten(1, (-1, BLOCK))
    return by_tile.amin(dim=2), by_tile.amax(dim=2)


def _queries(x: Tensor) -> Tensor:
    return x[:, :, None]


def _keys(x: Tensor) -> Tensor:
    return x[:, None, :]


def _overlap(least: Tensor, greatest: Tensor) -> Tensor:  # (R, n, n)
    """Whether the ranges of two tiles intersect."""
    return (_queries(least) <= _keys(greatest)) & (_keys(least) <= _queries(greatest))


def _listed(chosen: Tensor) -> tuple[Tensor, Tensor]:  # (R, 1, n), (R, 1, n, n)
    """Number of chosen tiles of keys for each tile of queries, and the indices of all tiles, chosen ones first."""
    indices = chosen.int().argsort(dim=-1, descending=True, stable=True)
    return chosen.sum(dim=-1).int()[:, None], indices.int()[:, None]


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Attention by the kind of mask: a block mask, a tree mask, or an ordinary one (as in sampling).

    The mask decides, not the model's configuration, because a recomputed block runs long after its forward.
    """
    if isinstance(attention_mask, TiledMask):  # needs one dtype; autocast leaves rotated tensors in float32
        query, key = query.to(value.dtype), key.to(value.dtype)
        options["kernel_options"] = attention_mask.kernel_options
        return flex_attention_forward(module, query, key, value, attention_mask, **options)
    if attention_mask is not None and attention_mask.dtype == torch.long:
        scale = options.get("scaling") or query.shape[-1] ** -0.5
        return kernels_for(query.device).tree_attention(query, key, value, attention_mask, scale), None
    if (prompts := getattr(key, "prompts", None)) is not None and _is_plain(options):
        scale = options.get("scaling") or query.shape[-1] ** -0.5
        return attend_to_prompts(module, query, key, value, prompts, scale), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


def _is_plain(options: dict[str, Any]) -> bool:
    """Whether attention is a softmax of scaled products, without biases, caps, sinks or windows."""
    known = {"dropout", "scaling", "is_causal", "position_ids", "use_cache", "output_attentions"}
    return all(value is None or name in known for name, value in options.items())


AttentionInterface.register("sdpa", attend)  # replaces "sdpa", since models select more than the kernel by that name
