"""Packed batches: each prompt once in a row, followed by its completions as the branches of a tree.

    row:        x x x x  a a a  b b b b b  c c        a prompt x with the branches a, b, c
    position:   0 1 2 3  4 5 6  4 5 6 7 8  4 5        each branch continues at the end of the prompt
    attends to: the prompt and its own branch, up to the token

A *tree* is a prompt with its branches: the group's rollouts and the teacher's answer, so that the three terms share one
forward and one backward. Each branch has the outputs of a forward of its own, since tokens of a decoder depend on each
other only through attention and positions. No model appears in this file. Shapes: see `uniapl.batching.batch`.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
from torch import Tensor

from uniapl.batching.batch import MicroBatch, Sequence, collate
from uniapl.batching.packing import Layout, Lengths, Rows, cut, row_length


@dataclass(frozen=True)
class PackedBatch:
    """The rows of one forward and backward pass."""

    input_ids: Tensor  # (R, W)
    position_ids: Tensor  # (R, W) within the sequence
    tree: Tensor  # (R, W) counted within the row, -1 on padding
    branch: Tensor  # (R, W) counted within the tree from 1, 0 on prompts
    predictors: Tensor  # (B, C) index within R·W of the token that predicts each completion token; 0 on padding
    batch: MicroBatch
    layout: Layout


def can_attend(tree: Tensor, branch: Tensor, row: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Whether tokens `query` of rows `row` attend to tokens `key` of the same rows: bool, broadcast over the indices.

    Padding attends to padding, so that no softmax has an empty support. `tree` and `branch` are those of a packed
    batch, (R, W).
    """
    same_tree = tree[row, query] == tree[row, key]
    on_path = (branch[row, key] == 0) | (branch[row, key] == branch[row, query])
    return same_tree & on_path & (key <= query)


def pack(
    sequences: Seq[Sequence], max_tokens: int, pad_id: int, device: torch.device, layout: Layout
) -> Iterator[PackedBatch]:
    """Cut a step into packed batches of at most `max_tokens` tokens; see `uniapl.batching.packing.cut`."""
    lengths = [Lengths(tuple(s.prompt_ids), len(s.prompt_ids), len(s.completion_ids)) for s in sequences]
    for rows in cut(lengths, max_tokens, layout):
        yield _to_tensors(rows, sequences, pad_id, device, layout)


def _to_tensors(rows: Rows, sequences: Seq[Sequence], pad_id: int, device: torch.device, layout: Layout) -> PackedBatch:
    """Tensors of the planned rows."""
    W = row_length(rows, layout)
    batch = collate([sequences[i] for row in rows for tree in row for i in tree.branches], pad_id, device)
    C = batch.completion_ids.shape[1]
    columns: list[list[tuple[int, int, int, int]]] = []  # by row and token: id, position, tree, branch
    predictors: list[list[int]] = []
    for row in rows:
        tokens: list[tuple[int, int, int, int]] = []
        for t, tree in enumerate(row):
            prompt_ids = sequences[tree.branches[0]].prompt_ids
            P = len(prompt_ids)
            tokens += [(token, at, t, 0) for at, token in enumerate(prompt_ids)]
            fork = len(columns) * W + len(tokens) - 1  # the prompt's last token predicts the first of each branch
            for b, i in enumerate(tree.branches, start=1):
                completion_ids = sequences[i].completion_ids
                n, start = len(completion_ids), len(columns) * W + len(tokens)
                predictors.append([fork, *range(start, start + n - 1)][:n] + [0] * (C - n))
                tokens += [(token, P + at, t, b) for at, token in enumerate(completion_ids)]
        columns.append(tokens + [(pad_id, 0, -1, 0)] * (W - len(tokens)))
    input_ids, position_ids, tree_of, branch_of = torch.tensor(columns, device=device).unbind(dim=-1)
    return PackedBatch(
        input_ids=input_ids.contiguous(),
        position_ids=position_ids.contiguous(),
        tree=tree_of.contiguous(),
        branch=branch_of.contiguous(),
        predictors=torch.tensor(predictors, device=device),
        batch=batch,
        layout=layout,
    )
