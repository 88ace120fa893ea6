"""Selection of the layout that a student supports, by a test on the student before the first step.

A model may depend on more than mask and positions: a window, a state, positions counted from padding. The shared
forward is therefore compared with the plain one on a few random sequences, log-probabilities and gradient, and a run
falls back to the fastest layout that agrees.
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
"""Largest difference of a token's log-probability, in nats. For SmolLM2-135M in float32 it is 2e-5."""
GRADIENT_TOLERANCE = 1e-3
"""Largest relative norm of the gradients' difference. For SmolLM2-135M in float32 it is 1e-5."""
UNKNOWN = (ValueError, TypeError, AttributeError, IndexError, KeyError, NotImplementedError)
"""Errors of models for unexpected arguments."""
UNSUPPORTED = (*UNKNOWN, RuntimeError)
"""The same for a mask or positions, and errors of compilers for a model that they cannot compile."""


def with_layout(policy: Policy) -> tuple[Policy, str | None]:
    """The policy with the fastest layout that its model supports, and the reason where that is not the device's.

    Weights and gradients are unchanged. The check computes in float32, also where the run uses another precision.

    Raises:
        ModelError: the student's forward fails in the plain layout too.
    """
    preferred = kernels_for(policy.device).layout
    config = policy.model.config.get_text_config()
    if getattr(config, "final_logit_softcapping", None):
        return replace(policy, layout=PLAIN), "the student soft-caps its logits"
    reason = _window(config)
    for layout in (preferred, Layout("rows")):
        problem = reason if layout.shares and reason else disagreement(policy, layout)
        if problem is None:
            return replace(policy, layout=layout), reason
        reason = reason or problem
    return replace(policy, layout=PLAIN), reason


def disagreement(policy: Policy, layout: Layout) -> str | None:
    """The difference from the plain layout in words; `None` where log-probabilities and gradient agree."""
    expected, expected_gradient = _plain(policy)
    try:
        logprobs, gradient = _measure(policy, layout)
    except torch.OutOfMemoryError:
        raise  # not caused by the layout
    except UNSUPPORTED as error:
        return _in_a_line(error)
    difference = (logprobs - expected).abs().max().item()
    if not difference <= LOGPROB_TOLERANCE:
        return f"log-probabilities differ by {difference:.2g} nats"
    differences = (a - b for a, b in zip(gradient, expected_gradient, strict=True))
    share = _norm(differences) / max(_norm(expected_gradient), 1e-30)
    if not share <= GRADIENT_TOLERANCE:
        return f"gradients differ by {share:.2g} of their norm"
    return None


def _plain(policy: Policy) -> tuple[Tensor, list[Tensor]]:
    """The results that the other layouts must reproduce."""
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
    """Two groups and a single sequence, with different weights."""
    draw = random.Random(0)
    lengths = {7: (3, 5, 1), 4: (2, 6), 5: (4,)}
    prompts = {n: [draw.randrange(vocabulary) for _ in range(n)] for n in lengths}
    return [
        Sequence(prompts[n], [draw.randrange(vocabulary) for _ in range(c)], coef=draw.gauss(0, 1))
        for n, group in lengths.items()
        for c in group
    ]


def _window(config: Any) -> str | None:
    """Reasons in the model's configuration, which a short probe would not show."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        return f"the student has layers other than full attention: {', '.join(sorted(kinds - {'full_attention'}))}"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return f"the student has a sliding window of {config.sliding_window} tokens"
    return None


def batch_dependence(policy: Policy, longest: int) -> str | None:
    """Why the outputs of a sequence depend on the other sequences of its batch; `None` where they do not.

    Args:
        policy: the student. Some recompute their rotary frequencies for the longest sequence of a batch, once it is
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
            return f"{kind} rotary positions depend on the longest sequence of a batch beyond {limit} tokens"
    return None


def _norm(gradients: Iterable[Tensor]) -> float:
    return math.hypot(*(g.norm().item() for g in gradients))


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
