"""A key-value cache with spare capacity, where appending a token does not copy the earlier ones, and its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from uniapl.batching.packing import CACHE_ROOM
from uniapl.model.shared_prompts import LayerPrompts, SharedPrompts

KEYS_AND_VALUES = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)
"""Cache layers without other states, where padding is masked. Subclasses may have states of convolutions and
recurrences as well, which padding changes in some models."""


class GrowingLayer(DynamicLayer):
    """Keys and values (B, heads, T, size) of one layer: views of the first T tokens of larger tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._buffers: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new tokens; returns those of all tokens.

        Keys are stored in the type of the values: autocast leaves rotated keys in float32, and attention would cast
        all of them at every token.
        """
        key_states = key_states.to(value_states.dtype)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = self.get_seq_length()
        total = length + key_states.shape[-2]
        if not self._buffers or total > self._buffers[0].shape[-2]:
            wider = [
                new.new_empty(*new.shape[:2], total + CACHE_ROOM, new.shape[-1]) for new in (key_states, value_states)
            ]
            for buffer, kept in zip(wider, self._buffers, strict=False):  # empty at first
                buffer[:, :, :length] = kept[:, :, :length]
            self._buffers = wider
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, length:total] = new
        return self._first(total)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        if self._buffers:  # none before the first token
            self._change(lambda buffer: buffer.index_select(0, indices))

    def prompts(self, shared: SharedPrompts) -> LayerPrompts:
        """Copies of the keys and values, without spare capacity, as prompts of other layers."""
        length = self.get_seq_length()
        keys, values = (buffer[:, :, :length].clone() for buffer in self._buffers)
        return LayerPrompts(keys, values, shared)

    def _change(self, change: Callable[[Tensor], Tensor]) -> None:
        length = self.get_seq_length()
        for i in range(len(self._buffers)):
            self._buffers[i] = change(self._buffers[i])
        self._first(length)

    def _first(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)
        return self.keys, self.values


class SharedPromptLayer(GrowingLayer):
    """Keys and values of the rows' own tokens; those of their prompts are an attribute of the keys, see `attend`."""

    def __init__(self, prompts: LayerPrompts) -> None:
        super().__init__()
        self._prompts = prompts

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """As `GrowingLayer.update`."""
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        keys.prompts = self._prompts  # type: ignore[attr-defined]
        return keys, values


def share_prompts(cache: DynamicCache, shared: SharedPrompts) -> DynamicCache | None:
    """A cache for completions of the prompts in `cache`; `None` if a layer keeps more than keys and values."""
    layers = [layer for layer in cache.layers if isinstance(layer, GrowingLayer) and type(layer) is GrowingLayer]
    if len(layers) < len(cache.layers):
        return None
    fresh = DynamicCache()
    fresh.layers = [SharedPromptLayer(layer.prompts(shared)) for layer in layers]
    fresh.layer_class_to_replicate = None
    return fresh


def with_growing_layers(cache: DynamicCache) -> DynamicCache:
    """Replace the layers of a new cache that attend to all tokens; others, such as windows, are unchanged."""
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def can_be_padded(cache: DynamicCache) -> bool:
    """Whether rows of different lengths can share this new cache."""
    return all(type(layer) in KEYS_AND_VALUES for layer in cache.layers)


def select_rows(cache: DynamicCache, rows: Tensor) -> None:
    """Keep these rows, in this order; a row may be repeated.

    The states of convolutions and recurrences are selected too, other than by `DynamicCache.batch_select_indices`.
    """
    for layer in cache.layers:
        if type(layer) in (GrowingLayer, SharedPromptLayer, *KEYS_AND_VALUES):
            layer.batch_select_indices(rows)  # type: ignore[union-attr]  # absent from the base class
        else:
            layer.reorder_cache(rows)  # type: ignore[arg-type]  # a tensor of integers
