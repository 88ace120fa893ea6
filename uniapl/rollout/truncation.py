"""Truncation of the sampling distribution: min-p, top-k and top-p (nucleus) sampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uniapl.spec.training import Rollout


@dataclass(frozen=True)
class Truncation:
    """Tokens of a distribution that may be sampled; the options are applied in vLLM's order: min-p, top-k, top-p."""

    top_p: float = 1.0
    """The likeliest tokens whose probabilities add up to at least this; 1 keeps all."""
    top_k: int = 0
    """Number of likeliest tokens; 0 keeps all."""
    min_p: float = 0.0
    """Minimum probability, relative to that of the likeliest token."""

    @staticmethod
    def of(options: Rollout) -> Truncation:
        """The options of a job."""
        return Truncation(options.top_p, options.top_k, options.min_p)

    @property
    def acts(self) -> bool:
        """Whether any token can be excluded."""
        return self != Truncation()

    def apply(self, weights: Tensor) -> Tensor:  # (B, V) -> (B, V)
        """Unnormalised probabilities with 0 for the excluded tokens; the likeliest token is always kept.

        Of equally likely tokens, top-k keeps all at its border, and top-p the first.
        """
        if self.min_p > 0:
            weights = weights.masked_fill(weights < self.min_p * weights.amax(dim=-1, keepdim=True), 0.0)
        if 0 < self.top_k < weights.shape[-1]:
            weights = weights.masked_fill(weights < weights.topk(self.top_k, dim=-1).values[:, -1:], 0.0)
        return self._nucleus(weights) if self.top_p < 1 else weights

    def _nucleus(self, weights: Tensor) -> Tensor:
        ranked, order = weights.sort(dim=-1, descending=True, stable=True)
        before = ranked.double().cumsum(dim=-1) - ranked  # (B, V) mass of the likelier tokens
        inside = before < self.top_p * ranked.double().sum(dim=-1, keepdim=True)
        inside[:, 0] = True
        return weights * torch.zeros_like(inside).scatter(-1, order, inside)
