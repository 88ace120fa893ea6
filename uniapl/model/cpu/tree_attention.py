"""Attention along branches on a CPU: a prompt to itself, and each branch to its prompt and itself.

Some queries at a time are multiplied with the keys they see, so that their weights stay in the processor's cache. Only
queries, keys and values are kept for the backward, which makes the weights again.
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
"""At a time: at prompts of 400 tokens 16 and 32 were slower, and 128 no faster."""

Block = tuple[slice, list[slice]]
"""Where some queries stand, and where the keys are that the last of them sees; the last keys are the queries' own."""


@torch.compiler.disable  # type: ignore[untyped-decorator]  # blocks differ from pack to pack
def tree_attention(query: Tensor, key: Tensor, value: Tensor, path: Tensor, scale: float) -> Tensor:
    """Attention of the tokens of one row.

    Args:
        query: (1, H, W, D)
        key: (1, K, W, D); H / K queries share one.
        value: the same.
        path: (1, 1, 2, W), tree and branch of each token.
        scale: multiplies the products of queries and keys.

    Returns:
        (1, W, H, D), D of the values.
    """
    found: Tensor = _TreeAttention.apply(query, key, value, _blocks(path), scale)  # type: ignore[no-untyped-call]
    return found


class _TreeAttention(torch.autograd.Function):
    """Softmax attention and its gradient, block by block."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: list[Block], scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.blocks, ctx.scale = blocks, scale
        K = key.shape[1]
        out = value.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
        for here, seen in blocks:
            n = here.stop - here.start
            weights = _weights(_rows(query, K, here) * scale, _seen(key, seen), n)
            _grouped(out.transpose(1, 2), K)[:, :, here] = _ungrouped(torch.bmm(weights, _seen(value, seen)), n)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        K = key.shape[1]
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for here, seen in ctx.blocks:
            n = here.stop - here.start
            q, o = _rows(query, K, here) * ctx.scale, _rows(outer.transpose(1, 2), K, here)
            k = _seen(key, seen)
            weights = _weights(q, k, n)
            grad = torch.bmm(o, _seen(value, seen).mT)
            grad = torch.ops.aten._softmax_backward_data(grad, weights, -1, grad.dtype)
            _grouped(grad_query, K)[:, :, here] = _ungrouped(torch.bmm(grad, k) * ctx.scale, n)
            _add(grad_key, seen, torch.bmm(grad.mT, q))
            _add(grad_value, seen, torch.bmm(weights.mT, o))
        return grad_query, grad_key, grad_value, None, None


def _weights(query: Tensor, key: Tensor, n: int) -> Tensor:  # (K, g·n, keys)
    """Of the n queries of each of g heads that share a key; the last n keys are their own, seen up to the query's."""
    products = torch.bmm(query, key.mT)
    later = torch.full((n, n), -torch.inf, dtype=products.dtype).triu_(1)
    products.unflatten(1, (-1, n))[..., -n:] += later
    return torch.softmax(products, dim=-1)


def _grouped(x: Tensor, keys: int) -> Tensor:
    """A view of (1, H, W, D) by the heads that share a key: (K, g, W, D)."""
    found: Tensor = x[0].unflatten(0, (keys, -1))
    return found


def _rows(x: Tensor, keys: int, here: slice) -> Tensor:
    """Some tokens of (1, H, W, D), heads that share a key after one another: (K, g·n, D)."""
    return _grouped(x, keys)[:, :, here].flatten(1, 2)


def _ungrouped(rows: Tensor, n: int) -> Tensor:
    """The other way: (K, g, n, D)."""
    found: Tensor = rows.unflatten(1, (-1, n))
    return found


def _seen(x: Tensor, seen: list[slice]) -> Tensor:
    """Some tokens of (1, K, W, D): (K, keys, D)."""
    parts = [x[0, :, tokens] for tokens in seen]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _add(total: Tensor, seen: list[slice], grad: Tensor) -> None:
    """Add what belongs to some tokens, (K, keys, D), to (1, K, W, D)."""
    lengths = [tokens.stop - tokens.start for tokens in seen]
    for tokens, part in zip(seen, grad.split(lengths, dim=1), strict=True):
        total[0, :, tokens] += part


@lru_cache(maxsize=1)  # every layer of a forward hands on the same tensor
def _blocks(path: Tensor) -> list[Block]:
    """Each prompt, and each of its branches, some queries at a time."""
    found: list[Block] = []
    prompt = slice(0, 0)
    for branch, start, end in _spans(path):
        if branch == 0:
            prompt = slice(start, end)
        for at in range(start, end, QUERIES):
            here = slice(at, min(at + QUERIES, end))
            own = slice(start, here.stop)
            found.append((here, [own] if branch == 0 else [prompt, own]))
    return found


def _spans(path: Tensor) -> Iterator[tuple[int, int, int]]:
    """The prompt of each tree, as branch 0, and then its branches: from where to where they stand.

    A lone branch is its prompt's continuation, and one with it; padding is a prompt without branches.
    """
    runs, lengths = torch.unique_consecutive(path[0, 0], dim=1, return_counts=True)
    start = 0
    for _, tree in itertools.groupby(zip(*runs.tolist(), lengths.tolist(), strict=True), key=itemgetter(0)):
        parts = [(branch, length) for _, branch, length in tree]
        for branch, length in parts if len(parts) > 2 else [(0, sum(length for _, length in parts))]:
            yield branch, start, start + length
            start += length
