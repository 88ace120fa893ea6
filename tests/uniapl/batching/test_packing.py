"""The plan of packed batches, without tensors."""

from __future__ import annotations

from typing import Any

import pytest

from uniapl.batching.packing import BLOCK, PADDING, Layout, Lengths, cut, row_length

pytestmark = pytest.mark.integration


def planned(lengths: list[tuple[int, int, int]], max_tokens: int, kind: Any) -> list[list[list[list[int]]]]:
    """Indices of the sequences, by batch, row and tree; lengths are (group, prompt, completion)."""
    rows = cut([Lengths(*each) for each in lengths], max_tokens, Layout(kind))
    return [[[tree.branches for tree in row] for row in batch] for batch in rows]


@pytest.mark.parametrize(
    ("max_tokens", "trees"),
    [(100, [[0, 1, 2, 3]]), (40, [[0, 2], [1, 3]]), (39, [[0], [1], [2], [3]]), (1, [[0], [1], [2], [3]])],
)
def test_a_group_is_split_into_the_fewest_trees_that_fit(max_tokens: int, trees: list[list[int]]) -> None:
    """A prompt of 20 tokens and four completions of 10."""
    batches = planned([(0, 20, 10)] * 4, max_tokens, "trees")
    assert sorted(tree for batch in batches for row in batch for tree in row) == trees


def test_trees_share_one_row_the_longest_first() -> None:
    lengths = [(0, 5, 5), (1, 10, 20), (2, 5, 4), (2, 5, 4)]
    assert planned(lengths, 40, "trees") == [[[[1], [0]]], [[[2, 3]]]]


def test_rows_of_a_batch_are_at_least_half_as_long_as_its_longest() -> None:
    lengths = [(0, 5, 5), (0, 5, 15), (1, 5, 4), (1, 5, 10)]
    assert planned(lengths, 1000, "rows") == [[[[1]], [[3]], [[0]]], [[[2]]]]
    assert planned(lengths, 40, "plain") == [[[[1]], [[3]]], [[[0]], [[2]]]]


def test_rows_of_blocks_are_whole_tiles() -> None:
    layout = Layout("blocks")
    batches = list(cut([Lengths(i, BLOCK, 1) for i in range(3)], 4 * BLOCK - 1, layout))
    assert [row_length(batch, layout) for batch in batches] == [3 * BLOCK, 2 * BLOCK]
    assert row_length(batches[0], Layout("trees")) == 2 * (BLOCK + 1)


@pytest.mark.parametrize("kind", ["trees", "blocks", "rows", "plain"])
@pytest.mark.parametrize("shared", [False, True])
def test_padded_completions_stay_in_proportion_to_the_tokens(kind: Any, shared: bool) -> None:
    """Short answers beside one of 8192 tokens, which pads each of them to its length."""
    short = 200 if shared else 4096
    lengths = [(0 if shared else i, 2, 1) for i in range(short)] + [(0 if shared else short, 2, 8192)]
    batches = planned(lengths, 16384, kind)
    assert sorted(i for batch in batches for row in batch for tree in row for i in tree) == list(range(short + 1))
    for batch in batches:
        branches = [i for row in batch for tree in row for i in tree]
        assert len(branches) * max(lengths[i][2] for i in branches) <= PADDING * 16384
    assert len(batches) <= 3  # the others fill batches as before
