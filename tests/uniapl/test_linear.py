"""Linear layers multiplied by oneDNN: the numbers and gradients of PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from uniapl import linear
from uniapl.linear import Linear
from uniapl.policy import Policy


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (2, 3, 5)])
def test_the_same_numbers_and_gradients(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    usual = torch.nn.Linear(5, 7, bias=bias)
    states, out = torch.randn(shape, requires_grad=True), torch.randn(*shape[:-1], 7)
    wanted = [states, *usual.parameters()]
    expected = usual(states)
    gradients = torch.autograd.grad((expected * out).sum(), wanted)
    usual.__class__ = Linear
    found = usual(states)
    assert "_Product" in type(found.grad_fn).__name__
    assert_close(found, expected)
    assert_close(torch.autograd.grad((found * out).sum(), wanted), gradients)


def test_frozen_weights_get_no_gradient_and_pass_it_on() -> None:
    layer = Linear(5, 7).requires_grad_(False)
    states = torch.randn(3, 5, requires_grad=True)
    layer(states).sum().backward()
    assert layer.weight.grad is None
    assert_close(states.grad, layer.weight.sum(dim=0).expand(3, 5))


def test_what_is_not_float32_is_left_to_pytorch() -> None:
    layer = Linear(5, 7).double()
    states = torch.randn(3, 5, dtype=torch.float64)
    assert_close(layer(states), states @ layer.weight.T + layer.bias, rtol=1e-12, atol=1e-12)


def test_every_linear_layer_of_a_loaded_student_is_one(policy: Policy) -> None:
    layers = [m for m in policy.model.modules() if isinstance(m, torch.nn.Linear)]
    assert layers
    assert all(type(layer) is Linear for layer in layers)


def test_without_onednn_layers_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear.torch.backends.mkldnn, "is_available", lambda: False)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    linear.multiply_by_onednn(model)  # type: ignore[arg-type]
    assert type(model[0]) is torch.nn.Linear
