"""The reference of token sampling."""

from __future__ import annotations

import torch
from torch import Tensor


def cumulative_sum_token(logits: Tensor, draws: Tensor, temperature: float) -> Tensor:
    """The reference: one cumulative sum over the whole vocabulary, in float64."""
    running = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    return torch.searchsorted(running, draws.double()[:, None] * running[:, -1:], right=True).squeeze(1)
