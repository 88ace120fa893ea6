"""Activations that a forward pass keeps for its backward, counted tensor by tensor."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from uniapl.batching.batch import Sequence
from uniapl.batching.packed import PackedBatch, pack
from uniapl.batching.packing import Layout
from uniapl.model.logprobs import completion_logprobs, precision


def saved_bytes(model: PreTrainedModel, packed: PackedBatch) -> int:
    """Bytes of the tensors that the backward needs, without parameters and their casts.

    Parameters are recognised by their shapes, so the width of `packed` must be no dimension of the model.
    """
    found: dict[int, Tensor] = {}
    weights = {tuple(p.shape) for p in model.parameters()}
    weights |= {shape[::-1] for shape in weights}
    W = packed.input_ids.numel()

    def hook(tensor: Tensor) -> Tensor:
        if tuple(tensor.shape) not in weights and tensor.untyped_storage().nbytes() >= W:
            found.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hook, lambda tensor: tensor), precision(packed.input_ids.device):
        completion_logprobs(model, packed, temperature=1.0)[0].sum()
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


def one_pack(device: torch.device) -> PackedBatch:
    """One row of 512 tokens in the shared layout."""
    (packed,) = pack([Sequence([5] * 500, [7] * n) for n in (1, 2, 3)], 10_000, 0, device, Layout("blocks"))
    return packed
