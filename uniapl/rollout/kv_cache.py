"""A key-value cache with room to grow: a further token costs a token, not a copy of all before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from uniapl.batching.packing import CACHE_ROOM


class GrowingLayer(DynamicLayer):
    """Keys and values (B, heads, T, size) of one layer: the first T tokens of tensors that hold some more."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rooms: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new tokens; returns those of all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = self.get_seq_length()
        total = length + key_states.shape[-2]
        if not self._rooms or total > self._rooms[0].shape[-2]:
            wider = [
                new.new_empty(*new.shape[:2], total + CACHE_ROOM, new.shape[-1]) for new in (key_states, value_states)
            ]
            for room, kept in zip(wider, self._rooms, strict=False):  # there is none at first
                room[:, :, :length] = kept[:, :, :length]
            self._rooms = wider
        for room, new in zip(self._rooms, (key_states, value_states), strict=True):
            room[:, :, length:total] = new
        return self._first(total)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row, copies beside one another."""
        self._change(lambda room: room.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        self._change(lambda room: room.index_select(0, indices))

    def _change(self, change: Callable[[Tensor], Tensor]) -> None:
        length = self.get_seq_length()
        for i in range(len(self._rooms)):
            self._rooms[i] = change(self._rooms[i])
        self._first(length)

    def _first(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (room[:, :, :length] for room in self._rooms)
        return self.keys, self.values


def with_growing_layers(cache: DynamicCache) -> DynamicCache:
    """A new cache with room in the layers that attend to all tokens; others, such as windows, stay what they are."""
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
