"""Compiled forwards support every backward of a step, and give the same gradient."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch._functorch.config
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.fx import GraphModule
from torch.testing import assert_close

from benchmarks.cuda_on_cpu import emulate_cuda
from tests.compiler_warnings import COMPILER_WARNINGS
from tests.conftest import MODELS, ROOT
from tests.uniapl.packed import VOCABULARY, objective, tiny, trained
from uniapl.batching.batch import Sequence
from uniapl.batching.packed import pack
from uniapl.batching.packing import Layout
from uniapl.errors import SpecError
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.cpu import linear
from uniapl.model.layout_check import disagreement
from uniapl.model.logprobs import completion_logprobs
from uniapl.model.policy import Policy, load_policy
from uniapl.run.config import ModelSource
from uniapl.spec.training import Resources
from uniapl.training.learner import Learner, Metrics

pytestmark = [pytest.mark.integration, *COMPILER_WARNINGS]
CPU = torch.device("cpu")
TERMS = ("sft", "grpo", "adv")


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Tests share neither graphs nor settings of torch."""
    torch._dynamo.reset()
    with torch._functorch.config.patch(donated_buffer=True):
        yield
    torch._dynamo.reset()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> CompileCounterWithBackend:
    """A compiler that traces and differentiates as in a run, without generating kernels, which is slow."""
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    return counter


def step(draw: random.Random) -> list[Sequence]:
    """Two groups with the teacher's answers, longer than a tile together."""
    found: list[Sequence] = []
    for _ in range(2):
        prompt, *answers = (draw.choices(range(VOCABULARY), k=draw.randrange(20, 60)) for _ in range(4))
        found.append(Sequence(prompt, answers[0], demonstration=True))
        for answer in answers[1:]:
            weights = {"advantage": draw.gauss(0, 1), "coef": draw.gauss(0, 1)}
            found.append(Sequence(prompt, answer, old_logprobs=[-3.0] * len(answer), **weights))
    return found


def train(policy: Policy, resources: Resources, *, steps: int) -> tuple[list[Tensor], list[Metrics]]:
    """Gradients and metrics of steps that measure every term, after the check of the layout."""
    wrap_blocks(policy.model, resources)
    assert disagreement(policy, policy.layout) is None
    learner, draw, gradients = Learner(policy, objective(resources=resources)), random.Random(0), []
    learner.optimizer.register_step_pre_hook(lambda *_: gradients.extend(p.grad.clone() for p in trained(policy)))
    metrics = [learner.update(step(draw), k, measure_terms=True) for k in range(steps)]
    assert all(metric[f"uniapl/grad_norm_{name}"] > 0 for metric in metrics for name in TERMS)
    return gradients, metrics


def student(*, amd: bool, monkeypatch: pytest.MonkeyPatch) -> Policy:
    """A student as loaded on AMD's processors, or on others, in the layout of a CPU."""
    monkeypatch.setattr(linear, "CHOSEN", amd)
    policy = load_policy(ModelSource(path=str(MODELS / "tiny-random-llama")), torch.device("cpu"))
    return replace(policy, layout=Layout("trees"))


BOTH = pytest.param(True, True, marks=pytest.mark.faults)  # slow


@pytest.mark.parametrize(("recomputed", "compiled"), [(False, False), (True, False), BOTH])
def test_measured_terms_train_with_flex_attention(recomputed: bool, compiled: bool) -> None:
    resources = Resources(gradient_checkpointing=recomputed, compile_blocks=compiled)
    with emulate_cuda(precision=torch.float32) as counts:
        found, metrics = train(replace(tiny(layers=1), layout=Layout("blocks")), resources, steps=2)
    assert counts.flex_variants > 0
    expected, wanted = train(replace(tiny(layers=1), layout=Layout("plain")), Resources(), steps=2)
    assert_close(found, expected, rtol=1e-6, atol=1e-9)
    for metric, like in zip(metrics, wanted, strict=True):
        assert [metric[f"uniapl/grad_norm_{name}"] for name in TERMS] == pytest.approx(
            [like[f"uniapl/grad_norm_{name}"] for name in TERMS]
        )


@pytest.mark.full
@pytest.mark.parametrize("recomputed", [False, pytest.param(True, marks=pytest.mark.faults)])
def test_measured_terms_train_with_compiled_blocks_and_without_private_operators(
    traced: CompileCounterWithBackend, recomputed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = Resources(gradient_checkpointing=recomputed, compile_blocks=True)
    found, _ = train(student(amd=True, monkeypatch=monkeypatch), resources, steps=1)
    graphs = [part.graph for graph in traced.graphs for part in graph.modules() if isinstance(part, GraphModule)]
    operators = {str(node.target) for graph in graphs for node in graph.nodes}
    assert any("linear" in name for name in operators)
    assert not any("mkldnn" in name for name in operators)
    expected, _ = train(student(amd=True, monkeypatch=monkeypatch), Resources(), steps=1)
    assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize("amd", [True, False])
def test_linear_layers_are_compiled_by_inductor_on_every_processor(amd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainable weights are not constants, which Inductor requires of oneDNN's private operator."""
    monkeypatch.setattr(linear, "CHOSEN", amd)
    layer, states = torch.nn.Sequential(torch.nn.Linear(6, 4)), torch.randn(5, 6)
    linear.use_onednn_linear(layer)
    assert (type(layer[0]) is linear.Linear) == amd
    found = torch.autograd.grad(torch.compile(layer, dynamic=True)(states).sum(), list(layer.parameters()))
    assert torch._dynamo.utils.counters["inductor"]
    assert_close(found, torch.autograd.grad(layer(states).sum(), list(layer.parameters())))


@pytest.mark.faults
@pytest.mark.parametrize("amd", [True, False])
def test_compiled_blocks_train_with_kernels_on_every_processor(amd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled by Inductor, as in a run."""
    found, _ = train(student(amd=amd, monkeypatch=monkeypatch), Resources(compile_blocks=True), steps=2)
    assert torch._dynamo.utils.counters["inductor"]
    expected, _ = train(student(amd=amd, monkeypatch=monkeypatch), Resources(), steps=2)
    assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_student_without_identifiable_blocks_is_refused() -> None:
    for name in ("gradient_checkpointing", "compile_blocks"):
        with pytest.raises(SpecError, match="identifies no decoder blocks") as refused:
            wrap_blocks(torch.nn.Linear(2, 2), Resources.model_validate({name: True}))
        assert refused.value.param == f"resources.{name}"
    wrap_blocks(torch.nn.Linear(2, 2), Resources())


@pytest.mark.full
def test_sampling_runs_the_same_weights_without_the_compiled_blocks() -> None:
    """Forwards with and without gradient agree on the road of a GPU, and only the former are compiled."""
    with emulate_cuda(precision=torch.float32) as counts:
        policy, (packed,) = tiny(layers=1), pack(step(random.Random(0)), 10_000, 0, CPU, Layout("blocks"))
        with torch.no_grad():
            plain = completion_logprobs(policy.model, packed, temperature=1.0)[0]
        wrap_blocks(policy.model, Resources(compile_blocks=True))
        with torch.no_grad():
            sampled = completion_logprobs(policy.model, packed, temperature=1.0)[0]
        assert torch.equal(sampled, plain)
        assert not any("linear" in name for name in counts.operators)  # FlexAttention alone
        trained = completion_logprobs(policy.model, packed, temperature=1.0)[0]
        assert any("linear" in name for name in counts.operators)
    assert trained.requires_grad
    assert_close(trained.detach(), plain, rtol=1e-6, atol=1e-9)


def test_no_test_replaces_the_compiler_by_one_that_compiles_nothing() -> None:
    """`torch.compile` may be given another backend, never another function."""
    files = [path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    patch = re.compile(r"""torch, "compile", (.*)|torch\.compile = |["']torch\.compile["'], """)
    found = {path.name: [m[1] for m in patch.finditer(path.read_text())] for path in files if path != Path(__file__)}
    found = {name: values for name, values in found.items() if values}
    assert found == {"cuda_on_cpu.py": ["partial(torch.compile, backend=compiled.backend)),"]}
