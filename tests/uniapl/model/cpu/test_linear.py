"""Linear layers multiplied by oneDNN have the numbers and gradients of PyTorch's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from tests.conftest import MODELS
from tests.uniapl.packed import gradient_of_a_group
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.cpu import linear
from uniapl.model.cpu.linear import Linear, onednn_is_faster
from uniapl.model.lora import with_lora
from uniapl.model.policy import Policy, load_policy
from uniapl.run.config import ModelSource
from uniapl.spec.training import Lora, Resources

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN, as on AMD's processors."""
    monkeypatch.setattr(linear, "CHOSEN", True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (2, 3, 5)])
def test_the_same_numbers_and_gradients(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 7, bias=bias)
    states, out = torch.randn(shape, requires_grad=True), torch.randn(*shape[:-1], 7)
    wanted = [states, *layer.parameters()]
    expected = layer(states)
    gradients = torch.autograd.grad((expected * out).sum(), wanted)
    layer.__class__ = Linear
    found = layer(states)
    assert "_Product" in type(found.grad_fn).__name__
    assert_close(found, expected)
    assert_close(torch.autograd.grad((found * out).sum(), wanted), gradients)


@pytest.mark.parametrize("layout", ["transposed", "every other", "none"])
def test_whatever_the_strides(layout: str) -> None:
    states = {"transposed": torch.randn(5, 3).T, "every other": torch.randn(3, 10)[:, ::2], "none": torch.randn(0, 5)}
    layer = Linear(5, 7)
    layer.bias = torch.nn.Parameter(torch.randn(14)[::2])
    assert not layer.bias.is_contiguous()
    assert_close(layer(states[layout]), states[layout] @ layer.weight.T + layer.bias)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_layers_pass_the_gradient_on_and_keep_no_states(frozen: bool) -> None:
    layer = Linear(5, 7).requires_grad_(not frozen)
    states, kept = torch.randn(3, 5, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.shape) or x, lambda x: x):
        out = layer(states)
    assert kept == [(7, 5)] if frozen else [(3, 5), (7, 5)]
    out.sum().backward()
    assert_close(states.grad, layer.weight.detach().sum(dim=0).expand(3, 5))


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("lora", [True, False])
def test_a_students_gradient_is_that_of_its_original_layers(policy: Policy, lora: bool, checkpointing: bool) -> None:
    policy = with_lora(policy, Lora(rank=4), seed=0) if lora else policy
    wrap_blocks(policy.model, Resources(gradient_checkpointing=checkpointing))
    found = gradient_of_a_group(policy)
    layers = [m for m in policy.model.modules() if type(m) is Linear]
    assert layers
    for layer in layers:
        layer.__class__ = torch.nn.Linear
    assert_close(found, gradient_of_a_group(policy), rtol=1e-4, atol=1e-5)


def test_other_dtypes_use_pytorchs_product() -> None:
    layer = Linear(5, 7).double()
    states = torch.randn(3, 5, dtype=torch.float64)
    assert_close(layer(states), states @ layer.weight.T + layer.bias, rtol=1e-12, atol=1e-12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Linear(5, 7)(states.float()).dtype == torch.bfloat16


@pytest.mark.parametrize("faster", [True, False])
def test_every_linear_layer_of_a_loaded_student_is_one_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, faster: bool
) -> None:
    monkeypatch.setattr(linear, "CHOSEN", faster)
    policy = load_policy(ModelSource(path=str(MODELS / "tiny-random-llama")), torch.device("cpu"))
    layers = [m for m in policy.model.modules() if isinstance(m, torch.nn.Linear)]
    assert layers
    assert all((type(layer) is Linear) == faster for layer in layers)


def test_without_onednn_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, states = Linear(5, 7), torch.randn(3, 5)
    found = layer(states)
    monkeypatch.setattr(linear, "CHOSEN", False)
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())  # a PyTorch without the operator
    assert_close(found, layer(states))


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [("vendor_id\t: AuthenticAMD\n", True), ("vendor_id\t: GenuineIntel\n", False), (None, False)],
)
def test_onednn_is_selected_on_amd_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, expected: bool
) -> None:
    monkeypatch.setattr(linear, "CPUINFO", tmp_path / "cpuinfo")
    if cpuinfo is not None:
        linear.CPUINFO.write_text(cpuinfo)
    assert onednn_is_faster() == expected
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())  # a PyTorch without the operator
    assert not onednn_is_faster()
