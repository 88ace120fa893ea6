"""Group-relative advantages: how much better a completion is than its siblings."""

from __future__ import annotations

from torch import Tensor


def group_advantages(
    rewards: Tensor,  # (P, G)
    *,
    scale: bool,
    eps: float = 1e-4,
) -> Tensor:  # (P, G)
    """Centre each group's rewards, and divide by their standard deviation.

        A_i = (r_i - mean_j r_j) / (std_j r_j + eps)

    GRPO (arXiv:2402.03300, section 4.1); without `scale`, Dr. GRPO (arXiv:2503.20783).

    Args:
        rewards: rewards of G completions for each of P prompts.
        scale: divide by the (unbiased) standard deviation.
        eps: keeps a group without variance at zero.
    """
    rewards = rewards.double()  # in float32 the mean of seven equal rewards may differ from them
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    if scale:
        centred = centred / (rewards.std(dim=1, keepdim=True) + eps)
    return centred.float()
