"""The growing key-value cache against transformers' own."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from uniapl.batching.packing import CACHE_ROOM
from uniapl.model.policy import Policy
from uniapl.rollout.kv_cache import GrowingLayer, with_growing_layers

pytestmark = pytest.mark.integration


def test_a_growing_layer_equals_a_dynamic_layer() -> None:
    source = torch.Generator().manual_seed(0)
    growing, dynamic = GrowingLayer(), DynamicLayer()
    rows = 2

    def append(tokens: int) -> None:
        keys, values = torch.randn(2, rows, 3, tokens, 4, generator=source)
        for found, expected in zip(growing.update(keys, values), dynamic.update(keys, values), strict=True):
            assert found.equal(expected)

    append(5)
    for layer in (growing, dynamic):
        layer.batch_select_indices(torch.arange(2).repeat_interleave(3))
    rows = 6
    for _ in range(CACHE_ROOM + 2):  # beyond the first buffer
        append(1)
    keep = torch.tensor([0, 3, 5])
    for layer in (growing, dynamic):
        layer.batch_select_indices(keep)
    rows = 3
    append(1)
    append(CACHE_ROOM + 5)  # more than a buffer grows by, at once
    assert growing.get_seq_length() == dynamic.get_seq_length() == 2 * CACHE_ROOM + 13
    assert growing.get_mask_sizes(1) == dynamic.get_mask_sizes(1)


def test_appending_a_token_copies_no_earlier_token() -> None:
    layer = GrowingLayer()
    layer.update(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4))
    layer.batch_select_indices(torch.tensor([0, 0, 1, 1]))
    where = layer.keys.data_ptr()
    for _ in range(CACHE_ROOM):
        layer.update(torch.ones(4, 1, 1, 4), torch.ones(4, 1, 1, 4))
        assert layer.keys.data_ptr() == where
    assert layer.keys.shape == (4, 1, 3 + CACHE_ROOM, 4)


def test_windows_keep_their_own_cache(policy: Policy) -> None:
    config = policy.model.config.__class__(num_hidden_layers=2, layer_types=["full_attention", "full_attention"])
    layers = with_growing_layers(DynamicCache(config=config)).layers
    assert [type(layer) for layer in layers] == [GrowingLayer, GrowingLayer]
    config = policy.model.config.__class__(num_hidden_layers=2)
    config.layer_types, config.sliding_window = ["sliding_attention", "full_attention"], 8
    first, second = with_growing_layers(DynamicCache(config=config)).layers
    assert not isinstance(first, GrowingLayer)
    assert isinstance(second, GrowingLayer)
