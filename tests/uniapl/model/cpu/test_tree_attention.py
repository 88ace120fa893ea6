"""Tree attention against a masked softmax over all tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from uniapl.batching.packed import can_attend
from uniapl.model.cpu import tree_attention

pytestmark = pytest.mark.integration

trees = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), max_size=4)),  # a prompt's length, and its branches'
    min_size=1,
    max_size=3,
)


def paths_of(trees: list[tuple[int, list[int]]], padding: int) -> Tensor:
    """(1, 1, 2, W)"""
    tree, branch = [], []
    for t, (prompt, branches) in enumerate(trees):
        for b, length in enumerate([prompt, *branches]):
            tree += [t] * length
            branch += [b] * length
    return torch.tensor([tree + [-1] * padding, branch + [0] * padding])[None, None]


def masked(query: Tensor, key: Tensor, value: Tensor, path: Tensor, scale: float) -> Tensor:
    tree, branch = path[0, :, 0], path[0, :, 1]
    at = torch.arange(path.shape[-1])
    seen = can_attend(tree, branch, torch.zeros(1, dtype=torch.long), at[:, None], at[None])  # (W, W)
    key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for x in (key, value))
    products = (query @ key.mT * scale).masked_fill(~seen, -torch.inf)
    return (products.softmax(dim=-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("queries", [1, 3, 64])
@settings(max_examples=30)
@given(trees=trees, padding=st.integers(0, 3), shared=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_same_as_masked_attention_with_its_gradient(
    queries: int, trees: list[tuple[int, list[int]]], padding: int, shared: int, seed: int
) -> None:
    path, generator = paths_of(trees, padding), torch.Generator().manual_seed(seed)

    def tensor(*shape: int) -> Any:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    W = path.shape[-1]
    # strides as in models: heads and tokens swapped
    query, key, value = (tensor(1, W, 2 * n, size).transpose(1, 2) for n, size in [(shared, 4), (1, 4), (1, 6)])
    wanted = [x.requires_grad_() for x in (query, key, value)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_attention, "QUERIES", queries)
        found = tree_attention.tree_attention(query, key, value, path, 0.3)
    expected = masked(query, key, value, path, 0.3)
    assert_close(found, expected)
    out = tensor(*found.shape)
    gradients = [torch.autograd.grad((attended * out).sum(), wanted) for attended in (found, expected)]
    assert_close(gradients[0], gradients[1])
