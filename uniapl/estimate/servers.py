"""Memory of a vLLM server on a GPU beside the trainer.

vLLM reserves a fixed share of its GPU at its start; what weights and a forward pass leave of it is the key-value cache.
A cache too small for one sequence of the maximum length is an error; more than all concurrent requests need is unused.
The formulas have not been compared with measurements on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from uniapl.estimate.activations import FLOAT
from uniapl.estimate.memory import RUNTIME
from uniapl.estimate.model_shape import ModelShape, ShapeUnknown
from uniapl.estimate.workload import Level
from uniapl.run.config import ModelSource
from uniapl.spec.backend import ManagedVllm, ServerRole, VllmSampler
from uniapl.spec.estimate import Bytes
from uniapl.spec.job import JobSpec

BATCHED_TOKENS = 8192
"""Tokens of one forward pass: the default of vLLM 0.32 on GPUs of 70 to 160 GiB (2048 below, 16384 above)."""

ASLEEP = Bytes(low=500_000_000, expected=1_500_000_000, high=3_000_000_000)
"""GPU memory of a sleeping server: the driver's context, kernels and CUDA graphs. Its cache is discarded; its weights
are too, or are in host memory. Not measured."""


@dataclass(frozen=True)
class Server:
    """Requirements of a server on its GPU."""

    need: Bytes | None
    """From the minimum to start to the most it can use; `None` where the model's size is unknown."""
    fraction: float | None
    """Its share, where the spec sets it."""


def servers_of(
    spec: JobSpec, source_of: Callable[[str], ModelSource], read: Callable[[ModelSource], ModelShape]
) -> dict[ServerRole, Server]:
    """The servers that a worker starts for a job."""
    servers: dict[ServerRole, Server] = {}
    for role, options in spec.servers.items():
        name = spec.student if role == "rollout" else spec.discriminator.model or spec.student
        try:
            shape = read(source_of(name))
        except ShapeUnknown:
            servers[role] = Server(None, options.gpu_memory_fraction)
            continue
        low, high = (_need(spec, shape, options, level) for level in ("low", "high"))
        servers[role] = Server(Bytes(low=low, expected=high, high=high), options.gpu_memory_fraction)
    return servers


def sequences(spec: JobSpec, sampler: VllmSampler) -> int:
    """Most completions that a server samples concurrently."""
    profiled = spec.evaluation.profile_completions if spec.evaluation else 1
    return sampler.concurrency * max(spec.grpo.group_size, profiled)


def context(spec: JobSpec, options: ManagedVllm) -> int | None:
    """Longest text of a server in tokens; `None` for the model's own limit.

    A sampler needs the longest prompt with its completion, and vLLM one token more. Evaluation has the same limits.
    """
    if options.max_model_tokens is not None:
        return options.max_model_tokens
    if isinstance(options, VllmSampler):
        return spec.data.max_prompt_tokens + spec.rollout.max_new_tokens + 1
    judged = spec.discriminator
    return judged.longest_text if judged.type == "polar" and options is judged.backend else None


def sequences_that_fit(spec: JobSpec, shape: ModelShape, sampler: VllmSampler, memory: float) -> int:
    """Completions of full length whose keys and values fit into `memory` bytes of a server; at least 1, at most all.

    vLLM preempts sequences when its cache is full, and later computes their keys and values again.
    """
    fixed = _fixed(spec, shape, sampler, "high")
    one = _token(shape, sampler) * _usual(spec, shape, sampler)
    return min(sequences(spec, sampler), max(1, int((memory - fixed) // one)))


def _need(spec: JobSpec, shape: ModelShape, options: ManagedVllm, level: Level) -> int:
    tokens = longest = _longest(spec, shape, options)
    if level == "high":
        if isinstance(options, VllmSampler):
            tokens = max(longest, sequences(spec, options) * _usual(spec, shape, options))
        else:
            tokens = longest + BATCHED_TOKENS
    return _fixed(spec, shape, options, level) + tokens * _token(shape, options)


def _fixed(spec: JobSpec, shape: ModelShape, options: ManagedVllm, level: Level) -> int:
    """Bytes beside keys and values: runtime, weights, and one forward pass."""
    parameters, logits = shape.parameters, 0
    if isinstance(options, VllmSampler):
        parameters += 0 if spec.lora else shape.vocab * shape.hidden  # a head of its own: `rollout.vllm`
        logits = sequences(spec, options) * shape.vocab * 2 * FLOAT
    working = BATCHED_TOKENS * (2 * shape.intermediate + 4 * shape.hidden)
    return RUNTIME["gpu"][level] + _size(options) * (parameters + working) + logits


def _longest(spec: JobSpec, shape: ModelShape, options: ManagedVllm) -> int:
    return min(context(spec, options) or shape.positions, shape.positions)


def _usual(spec: JobSpec, shape: ModelShape, sampler: VllmSampler) -> int:
    """Tokens of the longest prompt with its completion."""
    return min(_longest(spec, shape, sampler), spec.data.max_prompt_tokens + spec.rollout.max_new_tokens)


def _token(shape: ModelShape, options: ManagedVllm) -> int:
    """Bytes of the keys and values of a token."""
    return _size(options) * 2 * shape.keys * shape.layers


def _size(options: ManagedVllm) -> int:
    return FLOAT if options.dtype == "float32" else FLOAT // 2
