"""Planning of packed batches: sequences grouped into trees, rows and batches, without tensors.

Sequences that share a prompt form a *tree*, rows hold trees, batches hold rows: see `uniapl.batching.packed`. The
trainer and the estimate of its memory use the same plan.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

BLOCK = 128
"""Tokens per side of a tile of FlexAttention. Rows are padded to whole tiles: each row length is compiled anew."""
TileSize = Literal["default", "small", "smallest"]
"""Tiles that a kernel of FlexAttention computes at a time, within those of the mask: `uniapl.model.attention.TILES`."""
PADDING = 4
"""Bound of a batch's completions, padded to the longest one, in tokens per pass. Some tensors have this shape (B, C):
one long completion beside thousands of short ones would make them the largest of a step."""
CACHE_ROOM = 64
"""Tokens by which the key-value cache of a rollout grows at a time."""


@dataclass(frozen=True)
class Layout:
    """How sequences become rows; `uniapl.model.layout_check` chooses what a model supports."""

    kind: Literal["plain", "rows", "trees", "blocks"] = "plain"
    """
    plain    one sequence per row; the model's own mask and logits: every causal language model supports it
    rows     one sequence per row; the model's own mask, logits in chunks
    trees    all trees in one row, attention branch by branch: for CPUs
    blocks   all trees in one row, attention in tiles: for GPUs
    """
    tiles: TileSize = "default"
    """Tiles of the kernels of `blocks`."""

    @property
    def shares(self) -> bool:
        """Whether completions of one prompt share it."""
        return self.kind in ("trees", "blocks")


PLAIN = Layout()


def fastest_layout(*, gpu: bool) -> Layout:
    """The fastest layout for a device."""
    return Layout("blocks" if gpu else "trees")


def chunk_logits(*, gpu: bool) -> int:
    """Logits computed at a time; each takes 4 bytes in float32, and as many for its softmax or its gradient.

    Every chunk reads the head's weight three times and adds to its gradient once, which takes most of the time of small
    chunks on a GPU.
    """
    return 2**28 if gpu else 2**24


class Lengths(NamedTuple):
    """Lengths of one sequence, and its group."""

    group: Hashable
    """Equal for sequences with the same prompt."""
    prompt: int
    """Tokens."""
    completion: int


@dataclass(frozen=True)
class Tree:
    """A prompt with some of its completions."""

    branches: list[int]
    """Indices of the step's sequences."""
    num_tokens: int
    """Tokens of the prompt, counted once, and of every branch."""
    longest: int
    """Tokens of its longest completion."""

    @property
    def padded(self) -> int:
        """Tokens of its completions, padded to the longest one."""
        return len(self.branches) * self.longest


Rows = list[list[Tree]]
"""The trees in each row of a batch."""


def cut(sequences: Sequence[Lengths], max_tokens: int, layout: Layout) -> Iterator[Rows]:
    """Cut a step into batches of at most `max_tokens` tokens, padding included, longest trees first.

    Sorting keeps padding low; a step that does not fit into memory fails at its first batch. A longer sequence gets a
    batch of its own, and no batch is smaller than a tile. Completions padded to the longest one of their batch take at
    most `PADDING` times as many tokens.
    """
    if layout.kind == "blocks":
        max_tokens = max(max_tokens // BLOCK, 1) * BLOCK  # since rows are padded to whole tiles
    waiting = sorted(_trees(sequences, max_tokens, layout), key=lambda tree: tree.num_tokens, reverse=True)
    while waiting:
        rows, waiting = (_fill_row if layout.shares else _fill_rows)(waiting, max_tokens)
        yield rows


def row_length(rows: Rows, layout: Layout) -> int:
    """Tokens of each row of a batch, padding included."""
    longest = max(sum(tree.num_tokens for tree in row) for row in rows)
    return math.ceil(longest / BLOCK) * BLOCK if layout.kind == "blocks" else longest


def _trees(sequences: Sequence[Lengths], max_tokens: int, layout: Layout) -> list[Tree]:
    """Trees of at most `max_tokens` tokens; one per sequence where the layout does not share prompts."""
    if not layout.shares:
        return [Tree([i], s.prompt + s.completion, s.completion) for i, s in enumerate(sequences)]
    groups: dict[Hashable, list[int]] = {}
    for i, s in enumerate(sequences):
        groups.setdefault(s.group, []).append(i)
    return [tree for group in groups.values() for tree in _fewest_trees(group, sequences, max_tokens)]


def _fewest_trees(group: list[int], sequences: Sequence[Lengths], max_tokens: int) -> list[Tree]:
    """Sequences of one prompt, in the fewest trees that fit."""
    prompt = sequences[group[0]].prompt
    completions = sum(sequences[i].completion for i in group)
    number = math.ceil(completions / (max_tokens - prompt)) if max_tokens > prompt else len(group)
    for n in range(max(1, min(number, len(group))), len(group)):
        trees = _split(group, sequences, n)
        if all(tree.num_tokens <= max_tokens and tree.padded <= PADDING * max_tokens for tree in trees):
            return trees
    return _split(group, sequences, len(group))


def _split(group: list[int], sequences: Sequence[Lengths], number: int) -> list[Tree]:
    """Split into `number` trees of similar size: each branch, the longest first, joins the smallest tree so far."""
    sizes = [(0, n) for n in range(number)]
    parts: list[list[int]] = [[] for _ in sizes]
    for i in sorted(group, key=lambda i: sequences[i].completion, reverse=True):
        size, n = sizes[0]
        parts[n].append(i)
        heapq.heapreplace(sizes, (size + max(sequences[i].completion, 1), n))
    prompt = sequences[group[0]].prompt
    lengths = [[sequences[i].completion for i in part] for part in parts]
    return [Tree(part, prompt + sum(of), max(of)) for part, of in zip(parts, lengths, strict=True)]


def _fill_row(waiting: list[Tree], max_tokens: int) -> tuple[Rows, list[Tree]]:
    """One row with the longest tree and every other that fits; the second list holds the remaining trees."""
    room = max(max_tokens, waiting[0].num_tokens)
    padded = PADDING * room
    branches = longest = 0
    row: list[Tree] = []
    left: list[Tree] = []
    for tree in waiting:
        count, width = branches + len(tree.branches), max(longest, tree.longest)
        fits = tree.num_tokens <= room and count * width <= padded
        (row if fits else left).append(tree)
        if fits:
            room, branches, longest = room - tree.num_tokens, count, width
    return [row], left


def _fill_rows(waiting: list[Tree], max_tokens: int) -> tuple[Rows, list[Tree]]:
    """One sequence per row: the longest and those of at least half its length; the second list holds the remaining.

    Shorter sequences need less padding in a batch of shorter rows.
    """
    width = waiting[0].num_tokens
    number = max(1, max_tokens // width)
    long = [tree for tree in waiting[:number] if 2 * tree.num_tokens >= width]
    return [[tree] for tree in long], waiting[len(long) :]


def prompts_at_once(batch_size: int, group_size: int) -> int:
    """Prompts whose groups are sampled together; a group is never split."""
    return max(1, batch_size // group_size)
