"""From hidden states to log-probabilities without ever holding logits for all tokens.

A step has some thousand completion tokens and a vocabulary of 50 to 150 thousand; logits, their log-softmax and its
gradient would be the largest tensors of all. They are made for some tokens at a time, and made again in the backward.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from uniapl.packing import CHUNK_LOGITS


def token_logprobs(
    head: Callable[[Tensor], Tensor],  # (N, D) -> (N, V)
    states: Tensor,  # (N, D)
    token_ids: Tensor,  # (N,)
    temperature: Tensor,  # (N,) divides the logits
    *,
    vocabulary: int,
) -> tuple[Tensor, Tensor]:  # (N,), (N,)
    """Log-probability of each token, and the entropy of the distribution it came from; the latter without gradient.

    The softmax is computed in float32 at least. Memory grows with `CHUNK_LOGITS`, not with N · V.
    """
    size = max(1, CHUNK_LOGITS // vocabulary)
    chunks = list(zip(states.split(size), token_ids.split(size), temperature.split(size), strict=True))
    found = [checkpoint(_chunk, head, *c, use_reentrant=False, preserve_rng_state=False) for c in chunks[:-1]]
    found += [_chunk(head, *c) for c in chunks[-1:]]  # its backward comes first, before there is another to hold
    logprobs, entropies = zip(*found, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def _chunk(
    head: Callable[[Tensor], Tensor], states: Tensor, token_ids: Tensor, temperature: Tensor
) -> tuple[Tensor, Tensor]:
    logits = head(states)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    distribution = torch.log_softmax(logits / temperature[:, None], dim=-1)  # (n, V)
    with torch.no_grad():
        entropy = -(distribution.exp() * distribution).sum(dim=-1)
    return distribution.gather(-1, token_ids[:, None]).squeeze(1), entropy
