"""Who sees whom in a pack, and attention that computes no more than that.

On a GPU FlexAttention leaves out the tiles in which nothing is seen. On a CPU each branch is attended to on its own:
its queries, and the keys of its prompt and itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward

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
        along: Callable[..., Tensor] = partial(_along, attention_mask, options.get("scaling"))
        if torch.is_grad_enabled():  # a prompt's keys, copied for each branch, would be kept until the backward
            along = partial(checkpoint, along, use_reentrant=False, preserve_rng_state=False)
        return along(query, key, value).transpose(1, 2).contiguous(), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


def _along(path: Tensor, scaling: float | None, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention, (1, heads, W, size), of prompts to themselves and of each branch to its prompt and itself."""
    kernel = partial(scaled_dot_product_attention, scale=scaling, enable_gqa=True)
    found, prompt = [], slice(0, 0)
    for branch, here in _spans(path):
        q, k, v = (x[:, :, here] for x in (query, key, value))
        if branch == 0:
            prompt = here
            found.append(kernel(q, k, v, is_causal=True))
        else:
            k, v = (torch.cat([x[:, :, prompt], x[:, :, here]], dim=2) for x in (key, value))
            n, seen = q.shape[2], k.shape[2]
            mask = torch.full((n, seen), -torch.inf, dtype=q.dtype, device=q.device).triu_(1 + seen - n)
            found.append(kernel(q, k, v, attn_mask=mask))
    return torch.cat(found, dim=2)


def _spans(path: Tensor) -> Iterator[tuple[int, slice]]:
    """The prompt of each tree, as branch 0, and then its branches: where they stand.

    A lone branch is its prompt's continuation, and one with it; padding is a prompt without branches.
    """
    start = 0
    for _, tree in itertools.groupby(zip(*path[0, 0].tolist(), strict=True), key=itemgetter(0)):
        lengths = {branch: len(list(tokens)) for branch, tokens in itertools.groupby(map(itemgetter(1), tree))}
        for branch, length in lengths.items() if len(lengths) > 2 else [(0, sum(lengths.values()))]:
            yield branch, slice(start, start + length)
            start += length


AttentionInterface.register("sdpa", attend)  # under its own name, by which models ask for much more than a kernel
