"""AUC: how well scores separate good answers from bad ones."""

from __future__ import annotations

import torch
from torch import Tensor

from uniapl.errors import ScoreError


def auc(
    good: Tensor,  # (N,)
    bad: Tensor,  # (M,)
) -> float:
    """Probability that a good answer scores above a bad one, ties counting one half (Mann-Whitney's U over N·M).

    1 is perfect, 0.5 is chance, and below 0.5 the order is reversed.

    Raises:
        ScoreError: one of the tensors is empty, or a score is not finite.
    """
    if not len(good) or not len(bad) or not torch.isfinite(torch.cat([good, bad])).all():
        raise ScoreError(
            f"the AUC of {len(good)} good and {len(bad)} bad answers needs both kinds, and finite scores",
            param="discriminator",
        )
    ordered = bad.sort().values
    below = torch.searchsorted(ordered, good.contiguous(), right=False)  # (N,) bad scores that are lower
    up_to = torch.searchsorted(ordered, good.contiguous(), right=True)  # (N,) lower or equal
    return float((below + up_to).sum().item() / (2 * len(good) * len(bad)))
