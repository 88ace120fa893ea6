"""A causal model with a scalar head: one score per sequence, read at its last token."""

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
    """The head's output at the last token of each row, raw: a logit, in no way squashed.

    Rows are padded on the right, where causal attention never looks, and read at their own length. Transformers' own
    classifiers search for the last token that is not the padding token, and so read a row that ends with it (many
    tokenizers pad with their end token) one place too early.
    """
    device = head.weight.device
    lengths = torch.tensor([len(row) for row in rows], device=device)
    width = int(lengths.max())
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)  # (B, T)
    mask = torch.arange(width, device=device) < lengths[:, None]  # (B, T)
    hidden = backbone(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state  # (B, T, D)
    last = hidden[torch.arange(len(rows), device=device), lengths - 1]  # (B, D)
    scores: Tensor = head(last)  # (B, 1)
    return scores.squeeze(-1)
