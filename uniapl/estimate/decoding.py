"""Time of sampling by vLLM on a GPU, which the memory's bandwidth limits: each step reads all weights and caches."""

from __future__ import annotations

from uniapl.estimate.model_shape import ModelShape

HOST_S = 0.003
"""Seconds of the host per decoding step. Assumed."""
RESERVE = 4e9
"""Bytes of a GPU beside weights and cache: contexts, workspaces, graphs. Assumed."""


def sampling_s(
    shape: ModelShape, memory: float, bandwidth: float, *, sequences: float, prompt: float, answer: float
) -> float | None:
    """Seconds of sampling while the trainer keeps its float32 weights on the same GPU; `None` where nothing fits.

    Args:
        shape: the student.
        memory: bytes of the GPU.
        bandwidth: bytes per second that its memory reaches.
        sequences: answers that are sampled.
        prompt: mean tokens of their prompts.
        answer: mean tokens of an answer.
    """
    cached = 2 * 2 * shape.keys * shape.layers  # bfloat16 keys and values of a token
    room = memory - (4 + 2) * shape.parameters - RESERVE
    at_once = min(sequences, room // (cached * (prompt + answer)))
    if at_once < 1:
        return None
    read = 2 * shape.parameters + at_once * (prompt + answer / 2) * cached
    return sequences * answer / at_once * (read / bandwidth + HOST_S)
