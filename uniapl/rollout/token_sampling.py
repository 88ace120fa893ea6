"""Inverse-CDF token sampling with a two-level search over the vocabulary.

The sums of segments of the vocabulary locate the segment of the token, and only that segment is summed token by token:
a running sum over the whole vocabulary would cost a quarter of a small model's step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from uniapl.rollout.truncation import Truncation

ALL = Truncation()
SEGMENT = 256
"""Tokens per segment."""


def sample_tokens(
    logits: Tensor,  # (B, V)
    draws: Tensor,  # (B,) in [0, 1)
    *,
    temperature: float,
    greedy: bool,
    truncation: Truncation = ALL,
) -> tuple[Tensor, Tensor]:  # (B,), (B,)
    """The token at which the cumulative distribution exceeds each draw, and its log-probability.

    Args:
        logits: of the next token.
        draws: uniform numbers.
        temperature: divides the logits.
        greedy: take the likeliest token instead.
        truncation: tokens that may be sampled; the log-probability is that of the whole distribution.
    """
    B, V = logits.shape
    logits = logits.float() / temperature
    top = logits.amax(dim=-1, keepdim=True)  # (B, 1)
    weights = logits.new_zeros(B, math.ceil(V / SEGMENT) * SEGMENT)
    torch.sub(logits, top, out=weights[:, :V]).exp_()  # tokens beyond the vocabulary have weight 0
    segments = weights.view(B, -1, SEGMENT)
    sums = segments.sum(dim=-1).double()  # (B, V / SEGMENT)
    if greedy:
        tokens = logits.argmax(dim=-1)
    elif truncation.acts:
        kept = truncation.apply(weights).view(B, -1, SEGMENT)
        tokens = _invert(kept, kept.sum(dim=-1).double(), draws.double()[:, None])
    else:
        tokens = _invert(segments, sums, draws.double()[:, None])
    tokens = tokens.clamp(max=V - 1)  # NaN logits would give V; the learner reports the divergence
    logprobs = (logits.gather(-1, tokens[:, None]) - top).double() - sums.sum(dim=-1, keepdim=True).log()
    return tokens, logprobs.float().squeeze(1)


def _invert(segments: Tensor, sums: Tensor, draws: Tensor) -> Tensor:  # (B, N, SEGMENT), (B, N), (B, 1) -> (B,)
    running = sums.cumsum(dim=-1)
    target = draws * running[:, -1:]
    chosen = torch.searchsorted(running, target, right=True).clamp(max=running.shape[1] - 1)  # (B, 1)
    mass = sums.gather(1, chosen)
    share = ((target - running.gather(1, chosen) + mass) / mass).clamp(min=0)  # rounding may make it negative
    rows = torch.arange(len(draws), device=draws.device)
    within = segments[rows, chosen.squeeze(1)].double().cumsum(dim=-1)  # (B, SEGMENT)
    return (chosen * SEGMENT + torch.searchsorted(within, share * within[:, -1:], right=True)).squeeze(1)
