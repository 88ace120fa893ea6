"""Scalar scores of a causal model, read at the last token of each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def last_token_scores(
    backbone: Any,  # a transformers model without its language-model head
    head: torch.nn.Linear,  # D to 1
    rows: Sequence[Sequence[int]],  # B rows of at least one token
) -> Tensor:  # (B,)
    """The head's output at the last token of each row: a raw logit without an activation.

    Rows are padded on the right, which causal attention ignores, and read at their own length. The classifiers of
    transformers search for the last token that is not the padding token instead, and read a row that ends with it
    (many tokenizers pad with their end token) one position too early.
    """
    device = head.weight.device
    lengths = torch.tensor([len(row) for row in rows], device=device)
    width = int(lengths.max())
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)  # (B, T)
    mask = torch.arange(width, device=device) < lengths[:, None]  # (B, T)
    hidden = backbone(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state  # (B, T, D)
    last = hidden[torch.arange(len(rows), device=device), lengths - 1]  # (B, D)
    with torch.autocast(device.type, enabled=False):  # bfloat16 would round the scores
        scores: Tensor = head(last.to(head.weight.dtype))  # (B, 1)
    return scores.squeeze(-1)
