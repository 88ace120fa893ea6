"""How a step is cut into packs: one rule for the trainer and for the estimate of its memory, which knows no tensors.

Sequences that share a prompt are a *tree*, trees stand in rows, rows make a pack: see `uniapl.packs`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

BLOCK = 128
"""FlexAttention computes tiles of this many tokens; rows of another length would each be compiled anew."""
CHUNK_LOGITS = 2**24
"""Logits at a time: 64 MB in float32, and about four times that with what the softmax and its gradient make of them."""

CACHE_ROOM = 64
"""Tokens that the key-value cache of a rollout makes room for at a time."""


@dataclass(frozen=True)
class Layout:
    """How sequences become rows; `uniapl.selfcheck` chooses what a model supports."""

    kind: Literal["plain", "rows", "trees", "blocks"] = "plain"
    """
    plain    one sequence a row; the model's own mask and logits: what every causal language model can do
    rows     one sequence a row; the model's own mask, logits in chunks
    trees    all trees in one row, with attention along each branch: for CPUs
    blocks   the same, with attention in tiles: for GPUs
    """

    @property
    def shares(self) -> bool:
        """Whether completions of one prompt share it."""
        return self.kind in ("trees", "blocks")


PLAIN = Layout()


def usual(*, gpu: bool) -> Layout:
    """The fastest layout for a device."""
    return Layout("blocks" if gpu else "trees")


class Lengths(NamedTuple):
    """What the cut goes by of one sequence."""

    group: Hashable
    """Equal for sequences with the same prompt."""
    prompt: int
    """Tokens."""
    completion: int


@dataclass(frozen=True)
class Tree:
    """A prompt and completions of it."""

    branches: list[int]
    """Which of the step's sequences."""
    num_tokens: int
    """The prompt, once, and every branch."""


Rows = list[list[Tree]]
"""What stands in each row of a pack."""


def cut(sequences: Sequence[Lengths], max_tokens: int, layout: Layout) -> Iterator[Rows]:
    """Cut a step into packs of at most `max_tokens` tokens, padding included, longest trees first.

    Sorting keeps padding low; starting with the longest shows early whether the step fits into memory. A single
    sequence longer than that still passes alone.
    """
    waiting = sorted(_grow(sequences, max_tokens, layout), key=lambda tree: tree.num_tokens, reverse=True)
    while waiting:
        width = waiting[0].num_tokens
        if layout.shares:
            width = max(width, max_tokens)
        rows, waiting = _fill(waiting, width, max(1, max_tokens // width), alone=not layout.shares)
        yield rows


def row_length(rows: Rows, layout: Layout) -> int:
    """Tokens of each row of a pack, padding included."""
    longest = max(sum(tree.num_tokens for tree in row) for row in rows)
    return math.ceil(longest / BLOCK) * BLOCK if layout.kind == "blocks" else longest


def _grow(sequences: Sequence[Lengths], max_tokens: int, layout: Layout) -> list[Tree]:
    """The sequences as trees of at most `max_tokens`, one by one where the layout does not share prompts."""
    if not layout.shares:
        return [Tree([i], s.prompt + s.completion) for i, s in enumerate(sequences)]
    groups: dict[Hashable, list[int]] = {}
    for i, s in enumerate(sequences):
        groups.setdefault(s.group, []).append(i)
    return [tree for group in groups.values() for tree in _part(group, sequences, max_tokens)]


def _part(group: list[int], sequences: Sequence[Lengths], max_tokens: int) -> list[Tree]:
    """Sequences of one prompt as trees that fit, as few as may be."""
    prompt = sequences[group[0]].prompt
    completions = sum(sequences[i].completion for i in group)
    number = math.ceil(completions / (max_tokens - prompt)) if max_tokens > prompt else len(group)
    for n in range(max(1, min(number, len(group))), len(group)):
        trees = _split(group, sequences, n)
        if max(tree.num_tokens for tree in trees) <= max_tokens:
            return trees
    return _split(group, sequences, len(group))


def _split(group: list[int], sequences: Sequence[Lengths], number: int) -> list[Tree]:
    """Into `number` trees of about the same size: each branch, the longest first, goes to the smallest so far."""
    sizes = [(0, n) for n in range(number)]
    parts: list[list[int]] = [[] for _ in sizes]
    for i in sorted(group, key=lambda i: sequences[i].completion, reverse=True):
        size, n = sizes[0]
        parts[n].append(i)
        heapq.heapreplace(sizes, (size + max(sequences[i].completion, 1), n))
    prompt = sequences[group[0]].prompt
    return [Tree(part, prompt + sum(sequences[i].completion for i in part)) for part in parts]


def _fill(waiting: list[Tree], width: int, number: int, *, alone: bool) -> tuple[Rows, list[Tree]]:
    """Put trees, longest first, into up to `number` rows of `width` tokens; the second list is what is left.

    Only a tree of at least half a row opens a new one: shorter ones are better off in a pack of shorter rows.
    """
    rows: Rows = []
    room: list[int] = []
    left: list[Tree] = []
    shortest = waiting[-1].num_tokens
    for at, tree in enumerate(waiting):
        size = tree.num_tokens
        if rows and max(room) < shortest and (len(rows) == number or 2 * size < width):
            return rows, left + waiting[at:]
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


def prompts_at_once(batch_size: int, group_size: int) -> int:
    """Prompts whose groups are sampled together: a group is never parted."""
    return max(1, batch_size // group_size)
