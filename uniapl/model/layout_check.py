"""Which layout a student supports, found out on the student itself before the first step.

A model may know more of its tokens than mask and positions say: a window, a state, positions counted from padding. So
the shared forward is compared with the plain one on a few random sequences, log-probabilities and gradient, and a run
falls back to what agrees.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from uniapl.batching.batch import Sequence
from uniapl.batching.packed import pack
from uniapl.batching.packing import PLAIN, Layout
from uniapl.errors import ModelError
from uniapl.model.kernels import kernels_for
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.policy import Policy

LOGPROB_TOLERANCE = 1e-3
"""Nats: the largest difference of a token's log-probability. For SmolLM2-135M in float32 it is 2e-5."""
GRADIENT_TOLERANCE = 1e-3
"""Largest norm of the gradients' difference, as a share of the gradient's. For SmolLM2-135M in float32 it is 1e-5."""
UNKNOWN = (ValueError, TypeError, AttributeError, IndexError, KeyError, NotImplementedError)
"""What models raise for arguments that they do not expect."""
UNSUPPORTED = (*UNKNOWN, RuntimeError)
"""The same for a mask or positions; and what compilers raise for a model that they cannot compile."""


def with_layout(policy: Policy) -> tuple[Policy, str | None]:
    """The policy with the fastest layout that its model supports, and why that is not the usual one, if it is not.

    Weights and gradients are left as they are. The check is made in float32, whatever precision the run computes in.

    Raises:
        ModelError: the student's forward fails in the plain layout too.
    """
    preferred = kernels_for(policy.device).layout
    config = policy.model.config.get_text_config()
    if getattr(config, "final_logit_softcapping", None):
        return replace(policy, layout=PLAIN), "the student caps its logits"
    reason = _window(config)
    for layout in (preferred, Layout("rows")):
        problem = reason if layout.shares and reason else disagreement(policy, layout)
        if problem is None:
            return replace(policy, layout=layout), reason
        reason = reason or problem
    return replace(policy, layout=PLAIN), reason


def disagreement(policy: Policy, layout: Layout) -> str | None:
    """What differs from the plain layout; `None` when log-probabilities and gradient agree."""
    expected, wanted = _plain(policy)
    try:
        found, gradient = _measure(policy, layout)
    except torch.OutOfMemoryError:
        raise  # no fault of the layout's
    except UNSUPPORTED as error:
        return _in_a_line(error)
    difference = (found - expected).abs().max().item()
    if not difference <= LOGPROB_TOLERANCE:
        return f"log-probabilities differ by {difference:.2g} nats"
    share = _norm(a - b for a, b in zip(gradient, wanted, strict=True)) / max(_norm(wanted), 1e-30)
    if not share <= GRADIENT_TOLERANCE:
        return f"gradients differ by {share:.2g} of their norm"
    return None


def _plain(policy: Policy) -> tuple[Tensor, list[Tensor]]:
    """What the others are held to."""
    try:
        return _measure(policy, PLAIN)
    except UNKNOWN as error:
        raise ModelError(
            f"{type(policy.model).__name__} cannot be trained: {_in_a_line(error)}",
            hint="choose a student whose forward takes input_ids, attention_mask, position_ids and logits_to_keep",
            param="student",
        ) from error


def _measure(policy: Policy, layout: Layout) -> tuple[Tensor, list[Tensor]]:
    """Log-probabilities of some random sequences, and the gradient of their sum with random weights."""
    sequences = _probe(policy.model.config.get_text_config().vocab_size)
    (packed,) = pack(sequences, 10_000, policy.pad_id, policy.device, layout)
    logprobs, _ = completion_logprobs(policy.model, packed, temperature=0.8)
    weights = packed.batch.coef[:, None]
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    gradient = torch.autograd.grad((weights * logprobs).sum(), parameters, allow_unused=True)
    order = packed.batch.coef.argsort()  # the layouts order sequences differently
    known = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradient, strict=True)]
    return logprobs.detach()[order], known


def _probe(vocabulary: int) -> list[Sequence]:
    """Two groups and a lone sequence, with weights that tell them apart."""
    draw = random.Random(0)
    lengths = {7: (3, 5, 1), 4: (2, 6), 5: (4,)}
    prompts = {n: [draw.randrange(vocabulary) for _ in range(n)] for n in lengths}
    return [
        Sequence(prompts[n], [draw.randrange(vocabulary) for _ in range(c)], coef=draw.gauss(0, 1))
        for n, group in lengths.items()
        for c in group
    ]


def _window(config: Any) -> str | None:
    """What the model's configuration says that a short probe would not show."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        return f"the student has layers of other kinds: {', '.join(sorted(kinds - {'full_attention'}))}"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return f"the student attends to {config.sliding_window} tokens back only"
    return None


def batch_dependence(policy: Policy, longest: int) -> str | None:
    """Why a sequence's numbers depend on what it is batched with; `None` when they do not.

    Args:
        policy: the student. Some compute their rotary frequencies anew for the longest sequence of a batch, once it is
            longer than those of their pretraining.
        longest: tokens of the longest sequence that the spec allows.
    """
    config = policy.model.config.get_text_config()
    declared = getattr(config, "rope_parameters", None) or {}
    for rotary in [declared] if "rope_type" in declared else declared.values():  # one for all layers, or by their type
        kind = rotary.get("rope_type", "")
        if kind == "longrope":
            limit = rotary["original_max_position_embeddings"]
        elif "dynamic" in kind:
            limit = config.max_position_embeddings
        else:
            continue
        if longest > limit:
            return f"{kind} positions change for a whole batch once a sequence in it has more than {limit} tokens"
    return None


def _norm(gradients: Iterable[Tensor]) -> float:
    return math.hypot(*(g.norm().item() for g in gradients))


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
