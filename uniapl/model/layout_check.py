"""Selection of the layout that a student supports, by a test on the student before the first step.

A model may depend on more than mask and positions: a window, a state, positions counted from padding. The shared
forward is therefore compared with the plain one on a few random sequences, log-probabilities and gradient, and a run
falls back to the fastest layout that agrees.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from uniapl.batching.batch import Sequence
from uniapl.batching.packed import pack
from uniapl.batching.packing import BLOCK, PLAIN, Layout
from uniapl.errors import ModelError
from uniapl.model.attention import TILES
from uniapl.model.kernels import kernels_for
from uniapl.model.logprobs import completion_logprobs, precision
from uniapl.model.policy import Policy

LOGPROB_TOLERANCE = 1e-3
"""Largest difference of a token's log-probability, in nats. For SmolLM2-135M in float32 it is 2e-5."""
GRADIENT_TOLERANCE = 1e-3
"""Largest relative norm of the gradients' difference. For SmolLM2-135M in float32 it is 1e-5."""
UNKNOWN = (ValueError, TypeError, AttributeError, IndexError, KeyError, NotImplementedError)
"""Errors of models for unexpected arguments."""
UNSUPPORTED = (*UNKNOWN, RuntimeError)
"""The same for a mask or positions, and errors of compilers for a model that they cannot compile."""
Measured = tuple[Tensor, list[Tensor]]
"""Log-probabilities and gradient."""
T = TypeVar("T")


def with_layout(policy: Policy) -> tuple[Policy, str | None]:
    """The policy with the fastest layout that its model supports, and the reason where that is not the device's.

    Weights and gradients are unchanged. The check computes in float32, also where the run uses another precision, in
    which kernels are then only compiled and run once.

    Raises:
        ModelError: the student's forward fails in the plain layout too.
    """
    config = policy.model.config.get_text_config()
    if getattr(config, "final_logit_softcapping", None):
        return replace(policy, layout=PLAIN), "the student soft-caps its logits"
    reason = _window(config)
    if reason is None:
        shared, reason = _shared(policy)
        if shared is not None:
            return replace(policy, layout=shared), reason
    problem = disagreement(policy, Layout("rows"))
    if problem is None:
        return replace(policy, layout=Layout("rows")), reason
    return replace(policy, layout=PLAIN), reason or problem


def slower(layout: Layout, reason: str) -> str:
    """Message of the event for a layout, or tiles, that are not the device's fastest."""
    if not layout.shares:
        return f"completions of one prompt are trained without sharing it, which is slower: {reason}"
    sizes = ", ".join(f"{name.removeprefix('fwd_')} {size}" for name, size in TILES[layout.tiles].items())
    return (
        f"FlexAttention computes in {layout.tiles!r} tiles ({sizes.replace('bwd_', 'backward ')}), which is slower, "
        f"since torch's own do not compile for this GPU; use a GPU with more shared memory per thread block to train "
        f"faster: {reason}"
    )


def _shared(policy: Policy) -> tuple[Layout | None, str | None]:
    """The device's layout with the first tiles that compile, and the error of torch's own tiles where they do not.

    No layout, and the reason, where the model does not support it, or no tiles compile.
    """
    known = kernels_for(policy.device)
    sizes = list(TILES) if known.layout.kind == "blocks" else [known.layout.tiles]
    layouts = [replace(known.layout, tiles=size) for size in sizes]
    sequences = _probe(policy, known.layout)
    expected = _plain(policy, sequences)
    try:
        problem, chosen, failure = _first_compiled(partial(_difference, policy, sequences, expected), layouts)
        if problem is not None:
            return None, problem
        if known.precision != torch.float32:  # other kernels, which may need other tiles
            with precision(policy.device):
                _, chosen, failure = _first_compiled(partial(_measure, policy, sequences), layouts)
    except torch.OutOfMemoryError:
        raise  # not caused by the layout
    except UNSUPPORTED as error:
        return None, _in_a_line(error)
    return chosen, failure


def _first_compiled(check: Callable[[Layout], T], layouts: list[Layout]) -> tuple[T, Layout, str | None]:
    """The result of the first layout whose kernels compile, that layout, and the error of the first one before.

    Raises the error of the last layout, and those that no other tiles avoid.
    """
    failure = None
    for layout in layouts[:-1]:
        try:
            return check(layout), layout, failure
        except (torch.OutOfMemoryError, NotImplementedError):
            raise
        except RuntimeError as error:
            failure = failure or _in_a_line(error)
    return check(layouts[-1]), layouts[-1], failure


def disagreement(policy: Policy, layout: Layout) -> str | None:
    """The difference from the plain layout in words; `None` where log-probabilities and gradient agree."""
    sequences = _probe(policy, layout)
    expected = _plain(policy, sequences)
    try:
        return _difference(policy, sequences, expected, layout)
    except torch.OutOfMemoryError:
        raise  # not caused by the layout
    except UNSUPPORTED as error:
        return _in_a_line(error)


def _difference(policy: Policy, sequences: list[Sequence], expected: Measured, layout: Layout) -> str | None:
    """As `disagreement`; raises the errors of the layout."""
    with _without_tf32():
        logprobs, gradient = _measure(policy, sequences, layout)
    expected_logprobs, expected_gradient = expected
    difference = (logprobs - expected_logprobs).abs().max().item()
    if not difference <= LOGPROB_TOLERANCE:
        return f"log-probabilities differ by {difference:.2g} nats"
    differences = (a - b for a, b in zip(gradient, expected_gradient, strict=True))
    share = _norm(differences) / max(_norm(expected_gradient), 1e-30)
    if not share <= GRADIENT_TOLERANCE:
        return f"gradients differ by {share:.2g} of their norm"
    return None


def _plain(policy: Policy, sequences: list[Sequence]) -> Measured:
    """The results that the other layouts must reproduce."""
    try:
        with _without_tf32():
            return _measure(policy, sequences, PLAIN)
    except UNKNOWN as error:
        raise ModelError(
            f"{type(policy.model).__name__} cannot be trained: {_in_a_line(error)}",
            hint="choose a student whose forward takes input_ids, attention_mask, position_ids and logits_to_keep",
            param="student",
        ) from error


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Products of float32 in full precision; TF32, of 10 bits, would exceed the tolerances."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _measure(policy: Policy, sequences: list[Sequence], layout: Layout) -> Measured:
    """Log-probabilities of the sequences, and the gradient of their sum with the sequences' weights."""
    (packed,) = pack(sequences, 10_000, policy.pad_id, policy.device, layout)
    logprobs, _ = completion_logprobs(policy.model, packed, temperature=0.8)
    weights = packed.batch.coef[:, None]
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    gradient = torch.autograd.grad((weights * logprobs).sum(), parameters, allow_unused=True)
    order = packed.batch.coef.argsort()  # the layouts order sequences differently
    known = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradient, strict=True)]
    return logprobs.detach()[order], known


def _probe(policy: Policy, layout: Layout) -> list[Sequence]:
    """Random groups and a single sequence, with different weights; for tiles more tokens than one tile has."""
    draw = random.Random(0)
    vocabulary = policy.model.config.get_text_config().vocab_size
    lengths = {7: (3, 5, 1), 4: (2, 6), 5: (4,)}  # of at most twice the shortest: one pack of rows
    if layout.kind == "blocks":
        lengths[6] = (6,) * (BLOCK // 6)
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
    error = getattr(error, "inner_exception", error)  # of a compiler's backend
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
