"""Log-probabilities from hidden states in chunks, without logits for all tokens at once.

A step has some thousand completion tokens and a vocabulary of 50 to 150 thousand; logits, their log-softmax and its
gradient would be its largest tensors. They are computed for a chunk of tokens at a time and recomputed in the backward,
which accumulates the weight's gradient over the chunks. The last chunk is kept: the backward begins with it, and needs
as much memory for any other chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from uniapl.model.kernels import kernels_for

HALF = (torch.bfloat16, torch.float16)


def token_logprobs(
    states: Tensor,  # (N, D); or the logits themselves, (N, V), if there is no weight
    weight: Tensor | None,  # (V, D)
    bias: Tensor | None,  # (V,)
    token_ids: Tensor,  # (N,)
    temperature: Tensor,  # (N,) divides the logits
) -> tuple[Tensor, Tensor]:  # (N,), (N,)
    """Log-probability of each token, and the entropy of its distribution; the latter without gradient.

    Operands of products have autocast's precision where it is enabled; logits, softmax and sums are in float32 or
    wider. Memory grows with the `chunk_logits` of the device's kernels, not with N · V.
    """
    result: tuple[Tensor, Tensor] = _TokenLogprobs.apply(states, weight, bias, token_ids, temperature)  # type: ignore[no-untyped-call]
    return result


class _TokenLogprobs(torch.autograd.Function):
    """d logprob / d logits = (one at the token - softmax) / temperature."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor | None, bias: Tensor | None, token_ids: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor]:
        kind = states.device.type
        ctx.precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
        ctx.save_for_backward(states, weight, bias, token_ids, temperature)
        parts, head = [], _in(ctx.precision, weight, bias)
        for part in _chunks(states, weight):
            ctx.last = None  # frees its memory for the next chunk
            ctx.last = _distribution(states[part], head, temperature[part, None])
            logprobs = ctx.last.gather(-1, token_ids[part, None]).squeeze(1)
            parts.append((logprobs, -ctx.last.exp().mul_(ctx.last).sum(dim=-1)))
        logprobs, entropies = (torch.cat(chunks) for chunks in zip(*parts, strict=True))
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, token_ids, temperature = ctx.saved_tensors
        last, ctx.last = ctx.last, None  # overwritten below; a second backward through this graph recomputes it
        scale = (outer / temperature)[:, None]  # (N, 1)
        needs_states, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_states = torch.empty_like(states) if needs_states else None
        grad_weight = torch.zeros_like(weight) if needs_weight else None
        grad_bias = torch.zeros_like(bias) if needs_bias else None
        head = _in(ctx.precision, weight, bias)
        for part in reversed(_chunks(states, weight)):
            grad = _distribution(states[part], head, temperature[part, None]) if last is None else last  # (n, V)
            last = None
            grad.exp_().mul_(-scale[part])
            grad.scatter_add_(-1, token_ids[part, None], scale[part])
            if grad_bias is not None:
                grad_bias += grad.sum(dim=0)
            grad = grad.to(ctx.precision)
            if grad_states is not None:
                grad_states[part] = grad if head[0] is None else _product(grad, head[0])
            if grad_weight is not None:
                _add_product(grad_weight, grad.T, states[part].to(ctx.precision))
            del grad  # frees the chunk's memory for the next one
        return grad_states, grad_weight, grad_bias, None, None


def _chunks(states: Tensor, weight: Tensor | None) -> list[slice]:
    """Slices of the tokens; the first may be smaller, so that the last, which is kept, is full."""
    count, vocabulary = states.shape if weight is None else (len(states), weight.shape[0])
    size = max(1, kernels_for(states.device).chunk_logits // vocabulary)
    return [slice(max(0, end - size), end) for end in range(count, 0, -size)][::-1]


def _distribution(
    states: Tensor,  # (n, D); or logits, (n, V)
    head: tuple[Tensor | None, Tensor | None],
    temperature: Tensor,  # (n, 1)
) -> Tensor:  # (n, V)
    """Log-softmax of a chunk's logits over the temperature."""
    weight, bias = head
    logits = states if weight is None else _product(states.to(weight.dtype), weight.T, bias)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.log_softmax(logits / temperature if weight is None else logits.div_(temperature), dim=-1)


def _in(precision: torch.dtype, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    return None if weight is None else weight.to(precision), None if bias is None else bias.to(precision)


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:  # (n, K), (K, m), (m,) to (n, m)
    """a @ b + bias in float32 or wider.

    The result of bfloat16 operands is not rounded to bfloat16, which would change a logit of 25 by up to 0.06.
    """
    if a.dtype not in HALF:
        return kernels_for(a.device).linear(a, b.T, bias)
    if a.device.type == "cuda":  # the only device with this form of mm
        out: Tensor = torch.mm(a, b, out_dtype=torch.float32)
    else:  # products of bfloat16 numbers are exact in float32
        with torch.autocast(a.device.type, enabled=False):
            out = a.float() @ b.float()
    return out if bias is None else out.add_(bias)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b, without a copy of the product where the types allow it."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += _product(a, b)
