"""Batch types, and the legend of tensor shapes that every file follows.

    P   prompts of one step              G   completions per prompt
    B   sequences of one micro-batch     C   completion tokens, right-padded
    R   rows of one forward              W   tokens of a row, right-padded          V   vocabulary

Log-probabilities are in nats. A *demonstration* is a prompt with the teacher's answer, a *rollout* a prompt with an
answer sampled from the policy; both are a `Sequence`, and differ in its loss weights. `uniapl.batching.packed` lays
sequences out for the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
from torch import Tensor

from uniapl.spec.weights import Weights


@dataclass(frozen=True)
class Sequence:
    """One prompt with one completion, and its weight in each term of the objective."""

    prompt_ids: list[int]
    completion_ids: list[int]
    demonstration: bool = False
    """Whether it belongs to L_SFT."""
    advantage: float | None = None
    """A_i of L_GRPO; `None` excludes the sequence from the term."""
    coef: float | None = None
    """c_i of L_ADV; `None` excludes the sequence from the term."""
    old_logprobs: list[float] | None = None
    """(C,) under the policy that sampled it; `None` for the teacher's answers."""

    @property
    def num_tokens(self) -> int:
        """Prompt and completion tokens."""
        return len(self.prompt_ids) + len(self.completion_ids)

    def has_loss_weight(self, weights: Weights, *, kl_penalty: bool) -> bool:
        """Whether any term gives it a gradient; a rollout with an advantage of 0 may still have a coefficient."""
        return (
            (weights.alpha > 0 and self.demonstration)
            or (weights.alpha < 1 and self.advantage is not None and (self.advantage != 0 or kl_penalty))
            or (weights.lambda_adv > 0 and bool(self.coef))
        )


@dataclass(frozen=True)
class Counts:
    """Denominators of the three terms, counted over the whole step before it is cut into micro-batches."""

    sft_tokens: int
    grpo_tokens: int
    grpo_rollouts: int
    adv_tokens: int
    adv_rollouts: int
    adv_coef_norm: float
    """Root of the sum of c_i² over all tokens of L_ADV."""
    adv_inverse_lengths: float
    """Sum of 1/|y_i| over the sequences of L_ADV."""

    @staticmethod
    def of(sequences: Seq[Sequence]) -> Counts:
        """Count a step's sequences."""
        compared = [(len(s.completion_ids), s.coef) for s in sequences if s.coef is not None]
        return Counts(
            sft_tokens=sum(len(s.completion_ids) for s in sequences if s.demonstration),
            grpo_tokens=sum(len(s.completion_ids) for s in sequences if s.advantage is not None),
            grpo_rollouts=sum(s.advantage is not None for s in sequences),
            adv_tokens=sum(length for length, _ in compared),
            adv_rollouts=len(compared),
            adv_coef_norm=math.sqrt(math.fsum(length * coef**2 for length, coef in compared)),
            adv_inverse_lengths=math.fsum(1 / max(length, 1) for length, _ in compared),
        )


@dataclass(frozen=True)
class MicroBatch:
    """Inputs of the objective for the sequences of one forward and backward pass, padded."""

    completion_ids: Tensor  # (B, C)
    completion_mask: Tensor  # (B, C) bool, True on completion tokens
    old_logprobs: Tensor  # (B, C) 0 where there are none
    demonstration: Tensor  # (B,) bool
    advantages: Tensor  # (B,) 0 where there is none
    explored: Tensor  # (B,) bool, True for sequences of L_GRPO
    coef: Tensor  # (B,) 0 where there is none
    compared: Tensor  # (B,) bool, True for sequences of L_ADV
    sampled: Tensor  # (B,) bool, True for rollouts
    ref_logprobs: Tensor | None = None  # (B, C) of the reference policy; only with a KL penalty


def collate(sequences: Seq[Sequence], pad_id: int, device: torch.device) -> MicroBatch:
    """Right-pad sequences into one micro-batch."""
    C = max(len(s.completion_ids) for s in sequences)
    lengths = torch.tensor([len(s.completion_ids) for s in sequences], device=device)

    def padded(rows: list[list[int]] | list[list[float]], value: float) -> Tensor:
        return torch.tensor([row + [value] * (C - len(row)) for row in rows], device=device)

    return MicroBatch(
        completion_ids=padded([s.completion_ids for s in sequences], pad_id),
        completion_mask=torch.arange(C, device=device)[None, :] < lengths[:, None],
        old_logprobs=padded([s.old_logprobs or [] for s in sequences], 0.0),
        demonstration=torch.tensor([s.demonstration for s in sequences], device=device),
        advantages=torch.tensor([s.advantage or 0.0 for s in sequences], device=device),
        explored=torch.tensor([s.advantage is not None for s in sequences], device=device),
        coef=torch.tensor([s.coef or 0.0 for s in sequences], device=device),
        compared=torch.tensor([s.coef is not None for s in sequences], device=device),
        sampled=torch.tensor([s.old_logprobs is not None for s in sequences], device=device),
    )
