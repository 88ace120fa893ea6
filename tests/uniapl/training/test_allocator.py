"""The allocator of GPU memory is configured before torch reads its variable, and only where nothing opposes it."""

from __future__ import annotations

import pytest

from uniapl.__main__ import _configure_allocator

pytestmark = pytest.mark.unit

SET = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


@pytest.mark.parametrize(
    ("given", "shared_card", "expected"),
    [
        ({}, False, SET),
        ({}, True, {}),  # the sampler on the same GPU opens the trainer's tensors
        ({"PYTORCH_ALLOC_CONF": "backend:native"}, False, {"PYTORCH_ALLOC_CONF": "backend:native"}),
        ({"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}, False, {"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}),
    ],
)
def test_blocks_of_gpu_memory_are_extended(given: dict[str, str], shared_card: bool, expected: dict[str, str]) -> None:
    _configure_allocator(given, shared_card=shared_card)
    assert given == expected
