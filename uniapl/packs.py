"""Sequences laid out for a forward: each prompt once, with its completions as branches beside one another.

    row:        x x x x  a a a  b b b b b  c c        a prompt x with the branches a, b, c
    position:   0 1 2 3  4 5 6  4 5 6 7 8  4 5        each branch goes on where the prompt ends
    sees:       the prompt and itself, up to the token

A *tree* is a prompt with its branches: the group's rollouts and the teacher's answer, so that the three terms share one
forward and one backward. What a branch gets out of it is what it would get alone, since attention and positions are all
by which tokens of a decoder know of each other. This file knows no model. Shapes: see `uniapl.batch`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from uniapl.batch import MicroBatch, Sequence, collate

BLOCK = 128
"""FlexAttention computes tiles of this many tokens; rows of another length would each be compiled anew."""


@dataclass(frozen=True)
class Layout:
    """How sequences become rows; `uniapl.selfcheck` chooses what a model supports."""

    kind: Literal["plain", "rows", "trees", "blocks"] = "plain"
    """
    plain    one sequence a row; the model's own mask and logits: what every causal language model can do
    rows     one sequence a row; the model's own mask, logits in chunks
    trees    trees in rows as long as the longest of them, with a mask that is computed in full: for CPUs
    blocks   all trees in one row, with a mask of which only the tiles in use are computed: for GPUs
    """
    knee: float = math.inf
    """Row length, in tokens, at which attention under a full mask costs as much as everything else in the model."""

    @property
    def shares(self) -> bool:
        """Whether completions of one prompt share it."""
        return self.kind in ("trees", "blocks")


PLAIN = Layout()


@dataclass(frozen=True)
class Tree:
    """A prompt and completions of it."""

    branches: list[Sequence]

    @property
    def prompt_ids(self) -> list[int]:
        """The tokens all branches begin with."""
        return self.branches[0].prompt_ids

    @property
    def num_tokens(self) -> int:
        """The prompt, once, and every branch."""
        return len(self.prompt_ids) + sum(len(b.completion_ids) for b in self.branches)


@dataclass(frozen=True)
class Pack:
    """The rows of one forward and backward pass."""

    input_ids: Tensor  # (R, W)
    position_ids: Tensor  # (R, W) within the sequence
    tree: Tensor  # (R, W) counted within the row, -1 on padding
    branch: Tensor  # (R, W) counted within the tree from 1, 0 on prompts
    predictors: (
        Tensor  # (B, C) where in R·W the token stands that each completion token is predicted from; 0 on padding
    )
    batch: MicroBatch
    layout: Layout


def visible(tree: Tensor, branch: Tensor, row: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Whether tokens `query` of rows `row` see tokens `key` of the same: bool, in the shape the indices broadcast to.

    Padding sees padding, so that no softmax is over nothing. `tree` and `branch` are a pack's.
    """
    same_tree = tree[row, query] == tree[row, key]
    on_path = (branch[row, key] == 0) | (branch[row, key] == branch[row, query])
    return same_tree & on_path & (key <= query)


def packs(
    sequences: Seq[Sequence], max_tokens: int, pad_id: int, device: torch.device, layout: Layout
) -> Iterator[Pack]:
    """Cut a step into packs of at most `max_tokens` tokens, padding included, longest trees first.

    Sorting keeps padding low; starting with the longest shows early whether the step fits into memory. A single
    sequence longer than that still passes alone.
    """
    waiting = sorted(grow(sequences, max_tokens, layout), key=lambda tree: tree.num_tokens, reverse=True)
    while waiting:
        width = waiting[0].num_tokens
        if layout.kind == "blocks":
            width = max(width, max_tokens)
        rows, waiting = _fill(waiting, width, max(1, max_tokens // width), alone=not layout.shares)
        yield _lay(rows, pad_id, device, layout)


def grow(sequences: Seq[Sequence], max_tokens: int, layout: Layout) -> list[Tree]:
    """The sequences as trees of at most `max_tokens`, one by one where the layout does not share prompts."""
    if not layout.shares:
        return [Tree([s]) for s in sequences]
    groups: dict[tuple[int, ...], list[Sequence]] = {}
    for s in sequences:
        groups.setdefault(tuple(s.prompt_ids), []).append(s)
    return [tree for branches in groups.values() for tree in _cut(Tree(branches), max_tokens, layout.knee)]


def _cut(tree: Tree, max_tokens: int, knee: float) -> list[Tree]:
    """Into parts that fit, and to the number at which repeated prompts and masked attention together cost least."""

    def cost(parts: list[Tree]) -> float:
        return sum(part.num_tokens * (1 + part.num_tokens / knee) for part in parts)

    ways = [_split(tree, number) for number in range(1, len(tree.branches) + 1)]
    fitting = [parts for parts in ways if max(part.num_tokens for part in parts) <= max_tokens]
    return min(fitting, key=cost) if fitting else ways[-1]


def _split(tree: Tree, number: int) -> list[Tree]:
    """Into `number` trees of about the same size: each branch, the longest first, goes to the smallest so far."""
    parts: list[list[Sequence]] = [[] for _ in range(number)]
    sizes = [0] * number
    for branch in sorted(tree.branches, key=lambda s: len(s.completion_ids), reverse=True):
        smallest = sizes.index(min(sizes))
        parts[smallest].append(branch)
        sizes[smallest] += max(len(branch.completion_ids), 1)
    return [Tree(branches) for branches in parts]


def _fill(waiting: list[Tree], width: int, number: int, *, alone: bool) -> tuple[list[list[Tree]], list[Tree]]:
    """Put trees, longest first, into up to `number` rows of `width` tokens; the second list is what is left.

    Only a tree of at least half a row opens a new one: shorter ones are better off in a pack of shorter rows.
    """
    rows: list[list[Tree]] = []
    room: list[int] = []
    left = []
    for tree in waiting:
        size = tree.num_tokens
        row = next((i for i, free in enumerate(room) if size <= free), None)
        if row is None and len(rows) < number and (2 * size >= width or not rows):
            row = len(rows)
            rows.append([])
            room.append(width)
        if row is None:
            left.append(tree)
            continue
        rows[row].append(tree)
        room[row] = 0 if alone else room[row] - size
    return rows, left


def _lay(rows: list[list[Tree]], pad_id: int, device: torch.device, layout: Layout) -> Pack:
    """Rows as tensors."""
    W = max(sum(tree.num_tokens for tree in row) for row in rows)
    if layout.kind == "blocks":
        W = math.ceil(W / BLOCK) * BLOCK
    batch = collate([branch for row in rows for tree in row for branch in tree.branches], pad_id, device)
    C = batch.completion_ids.shape[1]
    columns: list[list[tuple[int, int, int, int]]] = []  # by row and token: id, position, tree, branch
    predictors: list[list[int]] = []
    for row in rows:
        tokens: list[tuple[int, int, int, int]] = []
        for t, tree in enumerate(row):
            P = len(tree.prompt_ids)
            tokens += [(token, at, t, 0) for at, token in enumerate(tree.prompt_ids)]
            fork = len(columns) * W + len(tokens) - 1  # from the prompt's last token every branch's first is predicted
            for b, branch in enumerate(tree.branches, start=1):
                n, start = len(branch.completion_ids), len(columns) * W + len(tokens)
                predictors.append([fork, *range(start, start + n - 1)][:n] + [0] * (C - n))
                tokens += [(token, P + at, t, b) for at, token in enumerate(branch.completion_ids)]
        columns.append(tokens + [(pad_id, 0, -1, 0)] * (W - len(tokens)))
    input_ids, position_ids, tree_of, branch_of = torch.tensor(columns, device=device).unbind(dim=-1)
    return Pack(
        input_ids=input_ids.contiguous(),
        position_ids=position_ids.contiguous(),
        tree=tree_of.contiguous(),
        branch=branch_of.contiguous(),
        predictors=torch.tensor(predictors, device=device),
        batch=batch,
        layout=layout,
    )
