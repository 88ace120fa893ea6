"""Bytes per token that the backward pass of a model needs, and of its weights as products use them.

tests/uniapl/estimate counts both tensor by tensor.
"""

from __future__ import annotations

from typing import Literal

from uniapl.estimate.model_shape import ModelShape
from uniapl.estimate.resources import ChosenResources
from uniapl.spec.job import JobSpec
from uniapl.spec.training import Lora

Device = Literal["cpu", "gpu"]
"""Device of the models."""
FLOAT = 4
"""Bytes of a float32: weights, gradients, moments and norms, on every device."""
PRODUCT: dict[Device, int] = {"cpu": FLOAT, "gpu": 2}
"""Bytes of an operand or result of a matrix product: bfloat16 on a GPU (`uniapl.model.logprobs.precision`)."""


def per_token(shape: ModelShape, lora: Lora | None = None, device: Device = "cpu", *, ours: bool = False) -> int:
    """Bytes of activations per token that the backward pass needs, over all layers.

    Per layer: inputs, normalised values and outputs of both norms; queries, repeated keys and values, attention's
    output twice; the gate before and after its activation, the other half, and their product. With LoRA the norms'
    weights are frozen, so their normalised values are not kept, but the adapters' inner values are.

    The kernels of `uniapl.model.cpu` (`ours`) keep less. Attention: keys and values unrepeated, and one output. Norms:
    no normalised values. Gates: both halves only, except with LoRA, whose adapters read the product.
    """
    if device == "gpu":
        return shape.layers * _autocast_layer(shape, lora)
    less = ours and shape.keeps_less
    norms = (4 if lora or less else 6) * shape.hidden
    attention = 2 * (shape.queries + shape.keys) if ours else 5 * shape.queries
    gate = (2 if less and not lora else 4) * shape.intermediate
    return shape.layers * FLOAT * (norms + attention + gate + (7 * lora.rank if lora else 0))


def _autocast_layer(shape: ModelShape, lora: Lora | None) -> int:
    """Bytes per token of one layer under bfloat16 autocast; tests/uniapl/estimate/test_gpu_activations.py counts them.

    In bfloat16: the input of each of five linear layers, cast once per reader; queries, keys, values and attention's
    output; four gates. In float32: both norms' inputs, and without LoRA their normalised values. Queries and keys with
    norms of their own are kept in float32 too.
    """
    half, frozen = PRODUCT["gpu"], lora is not None
    norms = (2 if frozen else 4) * FLOAT * shape.hidden + 5 * half * shape.hidden
    attention = 2 * half * shape.queries + 2 * half * shape.keys
    if shape.normed_queries:
        attention += (FLOAT + (0 if frozen else half)) * (shape.queries + shape.keys)
    adapters = 7 * half * lora.rank if lora else 0
    return norms + attention + 4 * half * shape.intermediate + adapters


def kept(spec: JobSpec, resources: ChosenResources, student: ModelShape, device: Device) -> int:
    """As `per_token`; with `gradient_checkpointing` each layer's input and all of the layer being recomputed."""
    everything = per_token(student, spec.lora, device, ours=device == "cpu")
    if not resources.gradient_checkpointing:
        return everything
    return student.layers * FLOAT * student.hidden + everything // student.layers


def cast_weights(student: ModelShape, device: Device, lora: Lora | None = None) -> int:
    """Bytes of the bfloat16 weights that autocast keeps from forward to backward: of a frozen student its adapters."""
    trained = student.adapters(lora) if lora else student.parameters
    return PRODUCT["gpu"] * trained if device == "gpu" else 0
