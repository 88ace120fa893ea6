"""Memory of a vLLM server on a GPU beside the trainer.

vLLM reserves a fixed share of its GPU at its start; what weights and a forward pass leave of it is the key-value cache.
A cache too small for one sequence of the maximum length is an error; more than all concurrent requests need is unused.
The formulas have not been compared with measurements on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from uniapl.estimate.memory import FLOAT, RUNTIME
from uniapl.estimate.model_shape import ModelShape, ShapeUnknown
from uniapl.estimate.workload import Level
from uniapl.run.config import ModelSource
from uniapl.spec.backend import ManagedVllm, ServerRole, VllmSampler
from uniapl.spec.estimate import Bytes
from uniapl.spec.job import JobSpec

BATCHED_TOKENS = 8192
"""Tokens of one forward pass: the default of vLLM 0.32 on GPUs of 70 to 160 GiB (2048 below, 16384 above)."""


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
    """Longest text of a server in tokens; `None` for the model's own limit."""
    if options.max_model_tokens is not None:
        return options.max_model_tokens
    judged = spec.discriminator
    return judged.longest_text if judged.type == "polar" and options is judged.backend else None


def _need(spec: JobSpec, shape: ModelShape, options: ManagedVllm, level: Level) -> int:
    size = FLOAT if options.dtype == "float32" else FLOAT // 2
    tokens = longest = min(context(spec, options) or shape.positions, shape.positions)
    parameters, logits = shape.parameters, 0
    if isinstance(options, VllmSampler):
        answers = sequences(spec, options)
        usual = min(longest, spec.data.max_prompt_tokens + spec.rollout.max_new_tokens)
        tokens = max(longest, answers * usual) if level == "high" else longest
        parameters += 0 if spec.lora else shape.vocab * shape.hidden  # a head of its own: `rollout.vllm`
        logits = answers * shape.vocab * 2 * FLOAT
    elif level == "high":
        tokens = longest + BATCHED_TOKENS
    working = BATCHED_TOKENS * (2 * shape.intermediate + 4 * shape.hidden)
    cache = tokens * 2 * shape.keys * shape.layers
    return RUNTIME["gpu"][level] + size * (parameters + working + cache) + logits
