"""An update that exhausts the memory is computed again in smaller passes, with the same gradient and metrics."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.uniapl.conftest import Listening
from tests.uniapl.packed import VOCABULARY, objective, tiny, trained
from uniapl.batching.batch import Sequence
from uniapl.model.policy import Policy, Reference
from uniapl.run.signals import Stopped
from uniapl.training.learner import Learner, Metrics

pytestmark = pytest.mark.integration

TIMES = ("time/forward_backward", "time/optim")


def sequences() -> list[Sequence]:
    """Six groups of 3 rollouts and a demonstration, and one rollout without weight in the loss."""
    draw, found = random.Random(0), []
    for _ in range(6):
        prompt, *answers = (draw.choices(range(VOCABULARY), k=draw.randrange(3, 9)) for _ in range(5))
        found.append(Sequence(prompt, answers[0], demonstration=True))
        for answer in answers[1:]:
            weights = {"advantage": draw.gauss(0, 1), "coef": draw.gauss(0, 1)}
            found.append(Sequence(prompt, answer, old_logprobs=[-3.0] * len(answer), **weights))
    return [*found, Sequence([1], [2, 3], advantage=0.0, coef=0.0, old_logprobs=[-1.0, -2.0])]


@contextmanager
def memory_for(
    policy: Policy, tokens: int, error: Exception, *, backward: bool = False, after: int = 0
) -> Iterator[list[Any]]:
    """A student whose last block raises `error` for more than `tokens` tokens, except in the first `after` passes.

    Yields its activations, weakly.
    """
    activations: list[Any] = []

    def limit(_module: Any, _inputs: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        activations.append(weakref.ref(states))
        if states.shape[:-1].numel() <= tokens or len(activations) <= after:
            return None
        if not backward:
            raise type(error)(*error.args)  # a new one, since an exception keeps the frames that it passes

        def fail(_gradient: Tensor) -> None:
            raise type(error)(*error.args)

        states.register_hook(fail)
        return None

    hook = policy.model.get_submodule("model.layers.1").register_forward_hook(limit)
    try:
        yield activations
    finally:
        hook.remove()


def update(policy: Policy, tokens: int, *, measure: bool) -> tuple[list[Tensor], Metrics, list[tuple[int, int, int]]]:
    """The gradient that AdamW gets, the metrics, and what was halved."""
    halved: list[tuple[int, int, int]] = []
    gradients: list[Tensor] = []
    reference = Reference(tiny().model.requires_grad_(False), adapted=False)
    spec = objective(grpo={"kl_coef": 0.1})
    learner = Learner(policy, spec, reference, tokens, lambda *args: halved.append(args))
    learner.optimizer.register_step_pre_hook(lambda *_: gradients.extend(p.grad.clone() for p in trained(policy)))
    metrics = learner.update(sequences(), 0, measure_terms=measure)
    return gradients, {name: value for name, value in metrics.items() if name not in TIMES}, halved


FORMS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
]


@pytest.mark.parametrize("error", FORMS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("measure", "backward"), [(False, False), (True, False), (True, True)])
def test_the_gradient_and_the_metrics_are_those_of_small_passes(
    error: Exception, measure: bool, backward: bool
) -> None:
    with memory_for(policy := tiny(), 60, error, backward=backward):
        found, metrics, halved = update(policy, 200, measure=measure)
    assert [step for step, *_ in halved] == [0] * len(halved)
    assert [(old, new) for _, old, new in halved] == [(200, 100), (100, 50)]
    expected, wanted, nothing = update(tiny(), 50, measure=measure)
    assert nothing == []
    assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert metrics == pytest.approx(wanted, rel=1e-9)
    assert ("uniapl/grad_norm_adv" in metrics) == measure


@pytest.mark.parametrize("measure", [False, True])
def test_what_passes_before_the_error_add_counts_once(measure: bool) -> None:
    with memory_for(policy := tiny(), 50, FORMS[0], after=1):
        found, metrics, halved = update(policy, 100, measure=measure)
    assert halved == [(0, 100, 50)]
    expected, wanted, _ = update(tiny(), 50, measure=measure)
    assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert metrics == pytest.approx(wanted, rel=1e-9)


def test_a_limit_beyond_the_step_is_halved_from_the_step() -> None:
    with memory_for(policy := tiny(), 100, FORMS[0]):
        *_, halved = update(policy, 2**31 - 1, measure=False)
    assert halved[0][2] < 200


def test_the_value_stays_halved() -> None:
    policy, halved = tiny(), []
    learner = Learner(policy, objective(), None, 120, lambda *args: halved.append(args))
    with memory_for(policy, 60, FORMS[0]):
        for step in range(2):
            learner.update(sequences(), step, measure_terms=False)
    assert halved == [(0, 120, 60)]
    assert learner.micro_batch_tokens == 60


def test_the_activations_of_a_failed_pass_are_freed_before_the_next() -> None:
    with memory_for(policy := tiny(), 60, FORMS[0]) as activations:
        living: list[int] = []
        learner = Learner(
            policy, objective(), None, 120, lambda *_: living.append(sum(a() is not None for a in activations))
        )
        learner.update(sequences(), 0, measure_terms=True)
    assert living == [0]


def test_a_sequence_that_does_not_fit_alone_ends_the_update_with_its_length() -> None:
    with memory_for(policy := tiny(), 5, FORMS[0]), pytest.raises(torch.OutOfMemoryError) as raised:
        update(policy, 120, measure=False)
    longest = max(s.num_tokens for s in sequences())
    assert raised.value.__notes__ == [
        f"one pass over the step's longest sequence, {longest} tokens, exhausts the memory"
    ]


def test_other_errors_are_not_retried() -> None:
    for error in (RuntimeError("shape mismatch"), RuntimeError("No valid triton configs. OutOfMemoryError: out of")):
        with memory_for(policy := tiny(), 60, error), pytest.raises(RuntimeError) as raised:
            update(policy, 200, measure=False)
        assert str(raised.value) == str(error)


def test_a_stop_is_accepted_before_the_smaller_passes(listening: Listening) -> None:
    signals, policy = listening(), tiny()
    learner = Learner(policy, objective(), None, 120, lambda *_: setattr(signals, "stop", True))
    before = [p.clone() for p in trained(policy)]
    with memory_for(policy, 60, FORMS[0]) as activations, pytest.raises(Stopped):
        learner.update(sequences(), 0, measure_terms=True)
    assert len(activations) == 1
    learner.discard_gradients()
    assert all(p.grad is None for p in trained(policy))
    assert all(torch.equal(p, old) for p, old in zip(trained(policy), before, strict=True))


def test_one_gradient_exists_when_adamw_allocates_its_moments() -> None:
    policy, found = tiny(), []
    kept = {p.data_ptr() for p in trained(policy)}

    def count(*_: Any) -> None:
        gc.collect()
        storages = {o.data_ptr(): o.untyped_storage().nbytes() for o in gc.get_objects() if type(o) is Tensor}
        found.append(sum(size for pointer, size in storages.items() if pointer not in kept))

    learner = Learner(policy, objective())
    learner.optimizer.register_step_pre_hook(count)
    count()
    learner.update(sequences(), 0, measure_terms=True)
    one = sum(p.nbytes for p in trained(policy))
    assert one <= found[1] - found[0] < 1.5 * one
