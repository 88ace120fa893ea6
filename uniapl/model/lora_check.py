"""A test that a student's adapters can be merged, on the student itself before the first step.

Each adapted layer is called once with its adapters and once with merged weights, within a forward of the student. A
student may also read a weight without calling its layer; an adapter of that layer would have an effect in the merged
checkpoint only.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.utils._pytree import tree_leaves

from uniapl.errors import ModelError
from uniapl.model import export
from uniapl.model.merge import adapted_parameter, merged

TOLERANCE = 1e-3
"""Largest difference of a layer's outputs, relative to the largest output. In float32 it is 1e-6."""
MAMBA, READ_BY_MAMBA = ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"), ("out_proj", "conv1d")
"""Model types for which peft refuses adapters of layers with these names."""
FAILS = (ValueError, TypeError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError)
"""Errors of layers whose adapters or merged weights do not fit."""


def obstacle(model: PeftModel) -> str | None:
    """Why a checkpoint with merged adapters would differ from the adapted student; `None` where it would not.

    Weights and adapters are unchanged.
    """
    student: Any = model.get_base_model()
    try:
        export.check(student, merged(student))
        with _acting(model):
            return _disagreement(student) or _unread(model)
    except torch.OutOfMemoryError:
        raise  # not caused by the adapters
    except ModelError as error:
        return error.message
    except FAILS as error:
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def unfit_layers(student: Any) -> list[str]:
    """Names of linear layers that cannot have an adapter, for which "all-linear" therefore does not stand.

    The output of some routers is a tuple, and kernels of Mamba read the weight of its output layer.
    """
    found: set[str] = set()
    with ExitStack() as hooks, torch.no_grad():
        for name, layer in student.named_modules():
            if isinstance(layer, torch.nn.Linear) and type(layer) is not torch.nn.Linear:
                hook = partial(_note_tuples, name, found)
                hooks.callback(layer.register_forward_hook(hook).remove)
        _forward(student)
    if student.config.model_type in MAMBA:
        found |= {name for name, _ in student.named_modules() if name.rpartition(".")[2] in READ_BY_MAMBA}
    return sorted(found)


def _note_tuples(name: str, found: set[str], layer: Any, args: Any, output: Any) -> None:
    if not isinstance(output, Tensor):
        found.add(name)


def _disagreement(student: Any) -> str | None:
    """The difference between adapters and merged weights in a forward of a few tokens, in words."""
    layers = dict(_outermost(student))
    differences: dict[str, float] = {}
    with ExitStack() as hooks, torch.no_grad():
        for name, layer in layers.items():
            hook = _Comparison(name, differences)
            hooks.callback(layer.register_forward_hook(hook, with_kwargs=True).remove)
        _forward(student)
    for name, difference in differences.items():
        if not difference <= TOLERANCE:
            return f"the outputs of {name} with merged weights differ by a relative {difference:.2g}"
    unused = {name: layer for name, layer in layers.items() if name not in differences}
    read = _read_directly(student, unused)
    return f"the model reads the weight of {read} directly, without its adapter" if read else None


class _Comparison:
    """A forward hook that calls the layer's base with merged weights."""

    def __init__(self, name: str, differences: dict[str, float]) -> None:
        self._name, self._differences = name, differences

    def __call__(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        weights = {
            name: source.tensor() for name, source in merged(layer).items() if source.adapters and "." not in name
        }
        base = layer.get_base_layer()
        merged_output = torch.func.functional_call(base, weights, args, kwargs)
        pairs = zip(_floats(output), _floats(merged_output), strict=True)
        largest = max((_difference(a, b) for a, b in pairs), default=0.0)
        self._differences[self._name] = max(self._differences.get(self._name, 0.0), largest)


def _unread(model: PeftModel) -> str | None:
    """The difference after peft has loaded the adapters that it saved, in words."""
    with quietly():
        adapters = get_peft_model_state_dict(model)
        saved = {name: value.clone() for name, value in adapters.items()}
        for value in adapters.values():
            value.zero_()
        set_peft_model_state_dict(model, dict(saved))
    different = [name for name, value in adapters.items() if not torch.equal(value, saved[name])]
    for name, value in adapters.items():
        value.copy_(saved[name])
    return f"peft saves {different[0]}, but cannot load it" if different else None


def _outermost(student: Any) -> Iterator[tuple[str, Any]]:
    """Adapted layers by name; a layer that is wrapped several times appears once."""
    for name, module in student.named_modules():
        if isinstance(module, LoraLayer) and not name.endswith(".base_layer"):
            yield name, module


def _read_directly(student: Any, unused: dict[str, Any]) -> str | None:
    """A layer that no forward called, although the logits depend on its weight."""
    wrapped = [
        (name, part) for name, layer in unused.items() for part in layer.modules() if isinstance(part, LoraLayer)
    ]
    weights = [getattr(part.get_base_layer(), adapted_parameter(part)).requires_grad_() for _, part in wrapped]
    try:
        if not weights or not (total := _forward(student).sum()).requires_grad:
            return None
        gradients = torch.autograd.grad(total, weights, allow_unused=True)
    finally:
        for weight in weights:
            weight.requires_grad_(False)
    return next((name for (name, _), grad in zip(wrapped, gradients, strict=True) if grad is not None), None)


def _forward(student: Any) -> Tensor:  # (1, 8, V)
    ids = torch.arange(1, 9, device=student.device)[None] % student.config.get_text_config().vocab_size
    logits: Tensor = student(input_ids=ids, use_cache=False).logits
    return logits


@contextmanager
def _acting(model: PeftModel) -> Iterator[None]:
    """Within it, fresh adapters, which are zero, have random values."""
    config: Any = model.peft_config["default"]
    spread = 0.04 * config.r / config.lora_alpha
    draw = torch.Generator().manual_seed(0)
    fresh = [p for p in model.parameters() if p.requires_grad and not p.any()]
    for parameter in fresh:
        parameter.data.copy_(spread * torch.randn(parameter.shape, generator=draw))
    try:
        yield
    finally:
        for parameter in fresh:
            parameter.data.zero_()


@contextmanager
def quietly() -> Iterator[None]:
    """Within it, no warnings of peft, about rank patterns that do fit and about tied weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _floats(output: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _difference(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    if not expected.numel():
        return 0.0
    return float((actual - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
