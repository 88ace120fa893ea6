"""The operators for students on a CPU, as `uniapl.model.kernels` selects them."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from uniapl.batching.packing import chunk_logits, fastest_layout
from uniapl.model.cpu.linear import PLAIN_LINEAR, product, use_onednn_linear
from uniapl.model.cpu.malloc import keep_freed_memory
from uniapl.model.cpu.norm_mlp import use_memory_efficient_norm_and_mlp
from uniapl.model.cpu.tree_attention import tree_attention
from uniapl.model.kernels import Kernels


def _prepare_model(model: PreTrainedModel) -> None:
    use_onednn_linear(model)
    use_memory_efficient_norm_and_mlp(model)


CPU = Kernels(
    layout=fastest_layout(gpu=False),
    plain_linear=PLAIN_LINEAR,
    linear=product,
    tree_attention=tree_attention,
    prepare_model=_prepare_model,
    prepare_process=keep_freed_memory,
    precision=torch.float32,
    chunk_logits=chunk_logits(gpu=False),
)
