"""Soft penalty on long completions, which grows linearly towards the limit."""

from __future__ import annotations

import torch
from torch import Tensor


def overlong_penalty(
    lengths: Tensor,  # (P, G) tokens
    *,
    limit: int,
    tokens: int,
) -> Tensor:  # (P, G) float64, from -1 to 0
    """0 up to `limit - tokens` tokens, and down to -1 at `limit`.

        R_length(y) = min(0, (limit - tokens - |y|) / tokens)

    Soft overlong punishment of DAPO (arXiv:2503.14476, eq. 13), whose L_max is `limit` and L_cache is `tokens`.

    Args:
        lengths: of the completions, the end token included.
        limit: `rollout.max_new_tokens`.
        tokens: length of the punished range before the limit; 0 for no penalty.
    """
    if tokens == 0:
        return torch.zeros_like(lengths, dtype=torch.float64)
    return ((limit - tokens - lengths.double()) / tokens).clamp(-1.0, 0.0)
