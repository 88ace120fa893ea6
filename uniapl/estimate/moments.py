"""Bytes of AdamW's moments, and of what an update of those in 8 bits needs beside them."""

from __future__ import annotations

from uniapl.estimate.activations import FLOAT, Device
from uniapl.estimate.model_shape import ModelShape
from uniapl.spec.job import JobSpec

BLOCK, SMALLEST = 256, 4096
"""Values per scale; values of the smallest parameter in 8 bits. Constants of bitsandbytes."""


def moment_bytes(spec: JobSpec, student: ModelShape) -> float:
    """Bytes of both moments of all trained parameters.

    In 8 bits a matrix of at least `SMALLEST` values takes one byte per value and moment, and a scale per block. Without
    adapters all parameters count as such: norms are about 0.1% of a model.
    """
    if spec.optimizer.moments == "float32":
        return 2 * FLOAT * student.trained(spec.lora)
    if spec.lora is None:
        return _in_bytes(student.parameters)
    return sum(_in_bytes(size) if size >= SMALLEST else 2 * FLOAT * size for size in student.adapter_sizes(spec.lora))


def step_bytes(spec: JobSpec, student: ModelShape, device: Device) -> float:
    """Bytes of a step beside moments and gradients: on a CPU, bitsandbytes copies the largest matrix in float32.

    Both moments, the gradient, and the denominator with its root: 20 bytes per value, measured 19.5. The kernels of
    GPUs need none.
    """
    if spec.optimizer.moments == "float32" or device == "gpu":
        return 0
    largest = max(student.adapter_sizes(spec.lora), default=0) if spec.lora else student.vocab * student.hidden
    return 5 * FLOAT * largest


def _in_bytes(values: int) -> float:
    return 2 * values * (1 + FLOAT / BLOCK)
