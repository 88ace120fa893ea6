"""Group-relative advantages: the reward of a completion relative to the others of its prompt."""

from __future__ import annotations

import torch
from torch import Tensor

EQUAL = 1e-12
"""Values of a group within this distance (times their magnitude, where that is above 1) count as equal: in float64,
sums and fractions have an error of about 1e-16 that depends on the order of the summands."""


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
        rewards: rewards of G completions for each of P prompts; NaN where none could be computed, which excludes the
            completion from its group.
        scale: divide by the (unbiased) standard deviation.
        eps: bounds the advantages of a group whose rewards are nearly equal.
    """
    centred, std = centre(rewards.double())
    if scale:
        centred = centred / (std + eps)
    return centred.float()


def centre(
    values: Tensor,  # (P, G)
) -> tuple[Tensor, Tensor]:  # (P, G), (P, 1)
    """Each value less its group's mean, and the groups' unbiased standard deviations.

    NaN values belong to no group: their entry is 0. For a group of one value both results are 0. Where the values are
    equal (up to `EQUAL`), both are exactly 0, whatever the rounding of the mean.
    """
    known = values.isfinite()
    n = known.sum(dim=1, keepdim=True)
    mean = torch.where(known, values, 0).sum(dim=1, keepdim=True) / n.clamp(min=1)
    centred = torch.where(known, values - mean, 0)
    variance = centred.square().sum(dim=1, keepdim=True) / (n - 1).clamp(min=1)
    flat = _is_flat(values, known)
    return centred.masked_fill(flat, 0), variance.sqrt().masked_fill(flat, 0)


def _is_flat(values: Tensor, known: Tensor) -> Tensor:  # (P, G), (P, G) -> (P, 1)
    """Whether a group's known values are all equal; a group without any is flat."""
    highest = torch.where(known, values, -torch.inf).amax(dim=1, keepdim=True)
    lowest = torch.where(known, values, torch.inf).amin(dim=1, keepdim=True)
    magnitude = torch.maximum(highest.abs(), lowest.abs()).clamp(min=1)
    return (highest - lowest <= EQUAL * magnitude) | ~known.any(dim=1, keepdim=True)
