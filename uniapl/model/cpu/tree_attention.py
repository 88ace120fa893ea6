"""Tree attention on a CPU: a prompt attends to itself, and each branch to its prompt and itself.

A block of queries is multiplied with the keys it attends to, so that the attention weights stay in the processor's
cache. Only queries, keys and values are saved for the backward, which recomputes the weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

QUERIES = 64
"""Per block. With prompts of 400 tokens 16 and 32 were slower, and 128 no faster."""

Block = tuple[slice, list[slice]]
"""Positions of the queries, and of the keys that the last of them attends to; the queries' own positions come last."""


@torch.compiler.disable  # type: ignore[untyped-decorator]  # blocks differ between batches
def tree_attention(query: Tensor, key: Tensor, value: Tensor, path: Tensor, scale: float) -> Tensor:
    """Attention of the tokens of one row.

    Args:
        query: (1, H, W, D)
        key: (1, K, W, D); H / K queries share one.
        value: (1, K, W, D of the values)
        path: (1, 1, 2, W), tree and branch of each token.
        scale: multiplies the products of queries and keys.

    Returns:
        (1, W, H, D), D of the values.
    """
    out: Tensor = _TreeAttention.apply(query, key, value, _blocks(path), scale)  # type: ignore[no-untyped-call]
    return out


class _TreeAttention(torch.autograd.Function):
    """Softmax attention and its gradient, block by block."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: list[Block], scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.blocks, ctx.scale = blocks, scale
        K = key.shape[1]
        out = value.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
        for queries, keys in blocks:
            n = queries.stop - queries.start
            weights = _weights(_rows(query, K, queries) * scale, _gathered(key, keys), n)
            _grouped(out.transpose(1, 2), K)[:, :, queries] = _ungrouped(torch.bmm(weights, _gathered(value, keys)), n)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        K = key.shape[1]
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for queries, keys in ctx.blocks:
            n = queries.stop - queries.start
            q, o = _rows(query, K, queries) * ctx.scale, _rows(outer.transpose(1, 2), K, queries)
            k = _gathered(key, keys)
            weights = _weights(q, k, n)
            grad = torch.bmm(o, _gathered(value, keys).mT)
            grad = torch.ops.aten._softmax_backward_data(grad, weights, -1, grad.dtype)
            _grouped(grad_query, K)[:, :, queries] = _ungrouped(torch.bmm(grad, k) * ctx.scale, n)
            _add(grad_key, keys, torch.bmm(grad.mT, q))
            _add(grad_value, keys, torch.bmm(weights.mT, o))
        return grad_query, grad_key, grad_value, None, None


def _weights(query: Tensor, key: Tensor, n: int) -> Tensor:  # (K, g·n, keys)
    """Weights of n queries in each of g heads per key; the last n keys, the queries' own positions, are causal."""
    products = torch.bmm(query, key.mT)
    later = torch.full((n, n), -torch.inf, dtype=products.dtype).triu_(1)
    products.unflatten(1, (-1, n))[..., -n:] += later
    return torch.softmax(products, dim=-1)


def _grouped(x: Tensor, keys: int) -> Tensor:
    """A view of (1, H, W, D) by the heads that share a key: (K, g, W, D)."""
    grouped: Tensor = x[0].unflatten(0, (keys, -1))
    return grouped


def _rows(x: Tensor, keys: int, tokens: slice) -> Tensor:
    """Some tokens of (1, H, W, D), heads that share a key after one another: (K, g·n, D)."""
    return _grouped(x, keys)[:, :, tokens].flatten(1, 2)


def _ungrouped(rows: Tensor, n: int) -> Tensor:
    """The inverse of the flattening in `_rows`: (K, g, n, D)."""
    ungrouped: Tensor = rows.unflatten(1, (-1, n))
    return ungrouped


def _gathered(x: Tensor, keys: list[slice]) -> Tensor:
    """Some tokens of (1, K, W, D): (K, keys, D)."""
    parts = [x[0, :, tokens] for tokens in keys]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _add(total: Tensor, keys: list[slice], grad: Tensor) -> None:
    """Add the gradients of some tokens, (K, keys, D), to (1, K, W, D)."""
    lengths = [tokens.stop - tokens.start for tokens in keys]
    for tokens, part in zip(keys, grad.split(lengths, dim=1), strict=True):
        total[0, :, tokens] += part


@lru_cache(maxsize=1)  # every layer of a forward passes the same tensor
def _blocks(path: Tensor) -> list[Block]:
    """The blocks of each prompt and of each of its branches."""
    blocks: list[Block] = []
    prompt = slice(0, 0)
    for branch, start, end in _spans(path):
        if branch == 0:
            prompt = slice(start, end)
        for at in range(start, end, QUERIES):
            queries = slice(at, min(at + QUERIES, end))
            segment = slice(start, queries.stop)
            blocks.append((queries, [segment] if branch == 0 else [prompt, segment]))
    return blocks


def _spans(path: Tensor) -> Iterator[tuple[int, int, int]]:
    """Branch number, start and end of the prompt of each tree, which is branch 0, and of its branches.

    A single branch continues its prompt and forms one span with it; padding is a prompt without branches.
    """
    runs, lengths = torch.unique_consecutive(path[0, 0], dim=1, return_counts=True)
    start = 0
    for _, tree in itertools.groupby(zip(*runs.tolist(), lengths.tolist(), strict=True), key=itemgetter(0)):
        parts = [(branch, length) for _, branch, length in tree]
        for branch, length in parts if len(parts) > 2 else [(0, sum(length for _, length in parts))]:
            yield branch, start, start + length
            start += length
