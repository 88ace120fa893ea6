"""Group-relative advantages: how much better a completion is than its siblings."""

from __future__ import annotations

import torch
from torch import Tensor


def group_advantages(
    rewards: Tensor,  # (P, G)
    *,
    scale: bool,
    eps: float = 1e-4,
) -> Tensor:  # (P, G), 0 where there is no reward
    """Centre each group's rewards, and divide by their standard deviation.

        A_i = (r_i - mean_j r_j) / (std_j r_j + eps)

    GRPO (arXiv:2402.03300, section 4.1); without `scale`, Dr. GRPO (arXiv:2503.20783).

    Args:
        rewards: rewards of G completions for each of P prompts; NaN where one could not be computed, which is then no
            part of its group.
        scale: divide by the (unbiased) standard deviation.
        eps: keeps a group without variance at zero.
    """
    centred, std = centre(rewards.double())  # in float32 the mean of seven equal rewards may differ from them
    if scale:
        centred = centred / (std + eps)
    return centred.float()


def centre(
    values: Tensor,  # (P, G)
) -> tuple[Tensor, Tensor]:  # (P, G), (P, 1)
    """Each value less its group's mean, and the groups' unbiased standard deviations.

    NaN values belong to no group: their entry is 0. A group of one value has no deviation and no spread.
    """
    known = values.isfinite()
    n = known.sum(dim=1, keepdim=True)
    mean = torch.where(known, values, 0).sum(dim=1, keepdim=True) / n.clamp(min=1)
    centred = torch.where(known, values - mean, 0)
    variance = centred.square().sum(dim=1, keepdim=True) / (n - 1).clamp(min=1)
    return centred, variance.sqrt()
