"""Token-by-token forwards of a batch of completions, with their prompts stored once or once per completion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from uniapl.model.shared_prompts import SharedPrompts
from uniapl.rollout.kv_cache import GrowingLayer, select_rows, share_prompts, with_growing_layers

PROBE = [[1, 2, 3, 4, 5], [2, 1]]
"""Prompts for which both ways of storing them are compared; of different lengths, so that one is padded."""
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Maximum difference of the logits, relative to the largest one, by the type of the cache."""


@dataclass
class Continuation:
    """The state of B completions of P prompts."""

    model: Any
    cache: DynamicCache
    positions: Tensor  # (B, 1) of the next token
    mask: Tensor | None  # (B, T) of prompts and completions; None where prompts are shared
    shared: SharedPrompts | None

    def forward(self, tokens: Tensor) -> Tensor:  # (B,) -> (B, V)
        """Append a token to each row; returns the logits of the next one."""
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        output = self.model(
            input_ids=tokens[:, None],
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.positions = self.positions + 1
        logits: Tensor = output.logits[:, -1]
        return logits

    def keep(self, rows: Tensor) -> None:
        """Keep these rows."""
        select_rows(self.cache, rows)
        self.positions = self.positions[rows]
        self.mask = None if self.mask is None else self.mask[rows]
        if self.shared is not None:
            self.shared.rows = self.shared.rows[rows]


def prefill(model: Any, prompts: list[list[int]], pad_id: int) -> tuple[Tensor, DynamicCache, Tensor]:
    """Next-token logits (P, V), cache and attention mask (P, T) of the prompts, padded on the left."""
    width = max(len(prompt) for prompt in prompts)
    left = [width - len(prompt) for prompt in prompts]
    input_ids = torch.tensor([[pad_id] * n + prompt for n, prompt in zip(left, prompts, strict=True)])
    mask = torch.tensor([[0] * n + [1] * (width - n) for n in left], device=model.device)
    cache = with_growing_layers(DynamicCache(config=model.config))
    output = model(
        input_ids=input_ids.to(model.device),
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1], cache, mask


def continue_prompts(model: Any, cache: DynamicCache, mask: Tensor, group_size: int, *, share: bool) -> Continuation:
    """The beginnings of `group_size` completions of each prompt.

    Args:
        model: the policy's.
        cache: of the prompts; it is no longer valid afterwards.
        mask: of the prompts.
        group_size: completions per prompt, next to each other.
        share: whether to store the prompts once, see `can_share`.
    """
    rows = torch.arange(len(mask), device=mask.device).repeat_interleave(group_size)
    positions = mask.sum(dim=1, keepdim=True)[rows]
    shared = SharedPrompts(mask.bool(), group_size, torch.arange(len(rows), device=mask.device))
    if share and (fresh := share_prompts(cache, shared)) is not None:
        return Continuation(model, fresh, positions, None, shared)
    select_rows(cache, rows)
    return Continuation(model, cache, positions, mask[rows], None)


def can_share(model: Any, pad_id: int) -> bool:
    """Whether the model's logits are the same with prompts that are stored once, as a short sampling shows.

    Not so for students that compute attention themselves, or with windows, caps or sinks.
    """
    found = []
    for share in (True, False):
        _, cache, mask = prefill(model, PROBE, pad_id)
        batch = continue_prompts(model, cache, mask, 2, share=share)
        if share and batch.shared is None:
            return False
        tokens = torch.tensor([3, 4, 5, 6], device=mask.device)
        logits = [batch.forward(tokens)]
        batch.keep(torch.tensor([0, 2, 3], device=mask.device))
        found.append([*logits, batch.forward(tokens[1:])])
        if share and (batch.shared is None or len(batch.shared.layers_used) != len(batch.cache.layers)):
            return False
    layer = batch.cache.layers[0]
    assert isinstance(layer, GrowingLayer), "share_prompts accepted the cache"
    assert layer.keys is not None, "a token was forwarded"
    tolerance = TOLERANCES.get(layer.keys.dtype, TOLERANCES[torch.bfloat16])
    return all(bool((a - b).abs().max() <= tolerance * a.abs().max()) for a, b in zip(*found, strict=True))
