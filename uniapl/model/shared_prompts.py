"""Attention of sampled tokens to prompts that are stored once for all completions of a group.

    scores of a row:   [ q · k of its prompt | q · k of its own tokens ]        one softmax over both

The keys and values of a prompt are products with the queries of its whole group. They would otherwise be copied for
each completion, which takes most of the memory of sampling after a long prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class SharedPrompts:
    """Which prompt each row of a batch continues; one object serves all layers of a cache."""

    mask: Tensor  # (P, Tp) bool, False on padding
    group_size: int
    rows: Tensor  # (B,) index of each row's completion within P·G
    layers_used: set[int] = field(default_factory=set)
    """Ids of the modules that computed attention to the prompts."""


@dataclass(frozen=True)
class LayerPrompts:
    """Keys and values of the prompts in one layer."""

    keys: Tensor  # (P, K, Tp, D) of K key-value heads
    values: Tensor  # (P, K, Tp, D)
    shared: SharedPrompts


def attend_to_prompts(
    module: Any,
    query: Tensor,  # (B, H, 1, D)
    key: Tensor,  # (B, K, T, D) of the row's own tokens
    value: Tensor,  # (B, K, T, D)
    prompts: LayerPrompts,
    scale: float,
) -> Tensor:  # (B, 1, H, D)
    """Attention of each row's newest token to its prompt and its own tokens; softmax and sums are in float32."""
    with torch.autocast(query.device.type, enabled=False):
        far_keys, far_values, own_keys, own_values = (x.float() for x in (prompts.keys, prompts.values, key, value))
        B, H, _, D = query.shape
        K = key.shape[1]
        grouped = query.float().reshape(B, K, H // K, D) * scale
        own = grouped @ own_keys.transpose(-1, -2)  # (B, K, H/K, T)
        far = _of_rows(_by_prompt(grouped, prompts.shared) @ far_keys.transpose(-1, -2), prompts.shared)
        allowed = prompts.shared.mask[prompts.shared.rows // prompts.shared.group_size]  # (B, Tp)
        far = far.masked_fill(~allowed[:, None, None], -math.inf)  # (B, K, H/K, Tp)
        weights = torch.cat([far, own], dim=-1).softmax(dim=-1)
        Tp = far.shape[-1]
        from_prompt = _of_rows(_by_prompt(weights[..., :Tp], prompts.shared) @ far_values, prompts.shared)
        result = weights[..., Tp:] @ own_values + from_prompt  # (B, K, H/K, D)
    prompts.shared.layers_used.add(id(module))
    return result.reshape(B, 1, H, D).to(value.dtype)


def _by_prompt(x: Tensor, shared: SharedPrompts) -> Tensor:  # (B, K, R, N) -> (P, K, G·R, N)
    """One row per prompt, with 0 for completions that have left the batch."""
    P, G, (_, K, R, N) = len(shared.mask), shared.group_size, x.shape
    dense = x.new_zeros(P * G, K, R, N).index_copy_(0, shared.rows, x)
    return dense.view(P, G, K, R, N).transpose(1, 2).reshape(P, K, G * R, N)


def _of_rows(x: Tensor, shared: SharedPrompts) -> Tensor:  # (P, K, G·R, N) -> (B, K, R, N)
    P, K, _, N = x.shape
    by_group = x.view(P, K, shared.group_size, -1, N).transpose(1, 2)  # (P, G, K, R, N)
    return by_group.reshape(P * shared.group_size, K, -1, N)[shared.rows]
