"""Pooling of token vectors into one vector per text, by the formulas of sentence-transformers."""

from __future__ import annotations

import torch
from torch import Tensor


def pool(
    hidden: Tensor,  # (n, T, D)
    mask: Tensor,  # (n, T), padding on the right
    modes: tuple[str, ...],
    skipped: int = 0,
) -> Tensor:  # (n, D · len(modes))
    """The vectors of each mode, joined.

    Args:
        hidden: vectors of the tokens.
        mask: 1 at tokens, 0 at padding.
        modes: values of `sentence_files.MODES`.
        skipped: number of first tokens, those of a prompt, that belong to no vector.
    """
    last = mask.sum(dim=1) - 1  # (n,)
    mask = mask.clone()
    mask[:, :skipped] = 0
    return torch.cat([_pool(hidden, mask[..., None].to(hidden.dtype), last, mode) for mode in modes], dim=1)


def _pool(hidden: Tensor, mask: Tensor, last: Tensor, mode: str) -> Tensor:  # (n, T, D), (n, T, 1), (n,) to (n, D)
    tokens = mask.sum(dim=1).clamp(min=1e-9)  # (n, 1)
    match mode:
        case "cls":
            return hidden[:, 0]
        case "max":
            return hidden.masked_fill(mask == 0, -1e9).amax(dim=1)
        case "mean":
            return (hidden * mask).sum(dim=1) / tokens
        case "mean_sqrt_len":
            return (hidden * mask).sum(dim=1) / tokens.sqrt()
        case "weightedmean":
            weights = mask * torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=hidden.dtype)[:, None]
            return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
        case _:
            return hidden[torch.arange(len(hidden), device=hidden.device), last]
