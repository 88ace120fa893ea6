"""Log-probabilities of the completions of a packed batch: its mask, the model's decoder, the head in chunks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from uniapl.batching.packed import PackedBatch
from uniapl.errors import ModelError
from uniapl.model.attention import block_mask, tree_mask
from uniapl.model.frozen import FrozenLinear
from uniapl.model.kernels import kernels_for
from uniapl.model.lm_head import token_logprobs


def completion_logprobs(
    model: Any,
    packed: PackedBatch,
    *,
    temperature: Tensor | float,  # (B,), or one for all
) -> tuple[Tensor, Tensor]:  # (B, C), (B, C)
    """Log-probability of each completion token, and the entropy of its distribution.

    The entropy carries no gradient. Both are 0 outside `completion_mask`.

    Args:
        model: the policy, or the reference.
        packed: B sequences.
        temperature: divides the logits: for rollouts the temperature of sampling (trl#4159 shows the mismatch
            otherwise), for demonstrations 1.
    """
    mask = packed.batch.completion_mask
    at = packed.predictors[mask]  # (N,)
    model = model.get_base_model() if isinstance(model, PeftModel) else model
    if packed.layout.kind == "plain":
        states, weight, bias = _logits(model, packed, at), None, None
    else:
        states = _hidden_states(model, packed).flatten(0, 1)[at]  # (N, D)
        weight, bias = _head(model)
    divisor = torch.as_tensor(temperature, device=states.device).expand(len(mask))[:, None].expand(mask.shape)[mask]
    logprobs, entropy = token_logprobs(states, weight, bias, packed.batch.completion_ids[mask], divisor)
    empty = logprobs.new_zeros(mask.shape)
    return empty.masked_scatter(mask, logprobs), empty.masked_scatter(mask, entropy)


def _head(model: Any) -> tuple[Tensor, Tensor | None]:  # (V, D), (V,)
    """Weight and bias of the output head.

    Raises:
        TypeError: the head computes more than a linear map.
    """
    head = model.get_output_embeddings()
    if type(head) not in (*kernels_for(model.device).plain_linear, FrozenLinear):
        raise TypeError(f"the output head is a {type(head).__name__}, not a linear layer")
    return head.weight, head.bias


def _logits(model: Any, packed: PackedBatch, at: Tensor) -> Tensor:  # (N, V)
    """The model's own logits at the tokens `at`; those before the end of the shortest prompt are not computed."""
    W = packed.input_ids.shape[1]
    first = int((at % W).min())
    logits: Tensor = model(
        input_ids=packed.input_ids,
        attention_mask=(packed.tree >= 0).long(),
        logits_to_keep=W - first,
        use_cache=False,
    ).logits  # (R, W - first, V)
    if logits.shape[1] != W - first:
        raise ModelError(
            f"{type(model).__name__} ignores logits_to_keep: it returned logits of other positions", param="student"
        )
    return logits[at // W, at % W - first]


def _hidden_states(model: Any, packed: PackedBatch) -> Tensor:  # (R, W, D)
    """Outputs of the decoder, the inputs of the head."""
    body = model.get_decoder()
    if packed.layout.kind == "rows":
        mask = (packed.tree >= 0).long()
        states: Tensor = body(input_ids=packed.input_ids, attention_mask=mask, use_cache=False).last_hidden_state
        return states
    states = body(
        input_ids=packed.input_ids,
        attention_mask=tree_mask(packed) if packed.layout.kind == "trees" else block_mask(packed),
        position_ids=packed.position_ids,
        use_cache=False,
    ).last_hidden_state
    return states


def precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast of matrix products to bfloat16 on a GPU; weights, softmax, gradients and AdamW stay in float32."""
    dtype = kernels_for(device).precision
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)
