"""The batch types, and the shape legend that every file follows.

    P   prompts of one step              G   completions per prompt
    B   sequences of one micro-batch     C   completion tokens, right-padded
    T   prompt and completion tokens, right-padded                     V   vocabulary

Log-probabilities are in nats. A *demonstration* is a prompt with the teacher's answer, a *rollout* a prompt with an
answer sampled from the policy; both are a `Sequence`, told apart by the weights it carries.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
from torch import Tensor

from uniapl.packing import pack


@dataclass(frozen=True)
class Sequence:
    """One prompt with one completion, and what each term of the objective makes of it."""

    prompt_ids: list[int]
    completion_ids: list[int]
    demonstration: bool = False
    """Whether L_SFT sees it."""
    advantage: float | None = None
    """A_i of L_GRPO; `None` keeps the sequence out of the term."""
    coef: float | None = None
    """c_i of L_ADV; `None` keeps the sequence out of the term."""
    old_logprobs: list[float] | None = None
    """(C,) of the policy that sampled it; `None` for the teacher's answers."""

    @property
    def num_tokens(self) -> int:
        """Prompt and completion tokens."""
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True)
class Counts:
    """Denominators of the three terms, counted over the whole step before it is cut into micro-batches."""

    sft_tokens: int
    grpo_tokens: int
    grpo_rollouts: int
    adv_tokens: int
    adv_rollouts: int

    @staticmethod
    def of(sequences: Seq[Sequence]) -> Counts:
        """Count a step's sequences."""
        return Counts(
            sft_tokens=sum(len(s.completion_ids) for s in sequences if s.demonstration),
            grpo_tokens=sum(len(s.completion_ids) for s in sequences if s.advantage is not None),
            grpo_rollouts=sum(s.advantage is not None for s in sequences),
            adv_tokens=sum(len(s.completion_ids) for s in sequences if s.coef is not None),
            adv_rollouts=sum(s.coef is not None for s in sequences),
        )


@dataclass(frozen=True)
class MicroBatch:
    """Sequences of one forward and backward pass, padded."""

    input_ids: Tensor  # (B, T)
    attention_mask: Tensor  # (B, T) 1 on tokens
    prompt_lengths: Tensor  # (B,)
    completion_ids: Tensor  # (B, C)
    completion_mask: Tensor  # (B, C) bool, True on completion tokens
    old_logprobs: Tensor  # (B, C) 0 where there are none
    demonstration: Tensor  # (B,) bool
    advantages: Tensor  # (B,) 0 where there is none
    explored: Tensor  # (B,) bool, True where L_GRPO sees the sequence
    coef: Tensor  # (B,) 0 where there is none
    compared: Tensor  # (B,) bool, True where L_ADV sees the sequence
    sampled: Tensor  # (B,) bool, True for rollouts
    ref_logprobs: Tensor | None = None  # (B, C) of the reference policy; where there is a KL penalty


def collate(sequences: Seq[Sequence], pad_id: int, device: torch.device) -> MicroBatch:
    """Right-pad sequences into one micro-batch."""
    T = max(s.num_tokens for s in sequences)
    C = max(len(s.completion_ids) for s in sequences)

    def padded(rows: list[list[int]], width: int) -> Tensor:
        return torch.tensor([row + [pad_id] * (width - len(row)) for row in rows], device=device)

    def mask(lengths: list[int], width: int) -> Tensor:
        return torch.arange(width, device=device)[None, :] < torch.tensor(lengths, device=device)[:, None]

    return MicroBatch(
        input_ids=padded([s.prompt_ids + s.completion_ids for s in sequences], T),
        attention_mask=mask([s.num_tokens for s in sequences], T).long(),
        prompt_lengths=torch.tensor([len(s.prompt_ids) for s in sequences], device=device),
        completion_ids=padded([s.completion_ids for s in sequences], C),
        completion_mask=mask([len(s.completion_ids) for s in sequences], C),
        old_logprobs=torch.tensor(
            [(s.old_logprobs or []) + [0.0] * (C - len(s.old_logprobs or [])) for s in sequences], device=device
        ),
        demonstration=torch.tensor([s.demonstration for s in sequences], device=device),
        advantages=torch.tensor([s.advantage or 0.0 for s in sequences], device=device),
        explored=torch.tensor([s.advantage is not None for s in sequences], device=device),
        coef=torch.tensor([s.coef or 0.0 for s in sequences], device=device),
        compared=torch.tensor([s.coef is not None for s in sequences], device=device),
        sampled=torch.tensor([s.old_logprobs is not None for s in sequences], device=device),
    )


def micro_batches(sequences: Seq[Sequence], max_tokens: int, pad_id: int, device: torch.device) -> Iterator[MicroBatch]:
    """Cut a step into micro-batches of at most `max_tokens` padded tokens; see `pack`."""
    for chosen in pack([s.num_tokens for s in sequences], max_tokens):
        yield collate([sequences[i] for i in chosen], pad_id, device)
