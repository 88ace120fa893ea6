"""Where a model that is only asked, a discriminator or the sampler, runs: in the trainer, beside it, or elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from uniapl.spec.base import Count, Input, Name, ServerAddress

Api = Literal["vllm", "sglang", "lmdeploy"]
"""Whose requests and answers a server of scores speaks."""

ServerRole = Literal["discriminator", "rollout"]
"""What a server beside the trainer is for."""


class InProcess(Input):
    """In the trainer's own process, with transformers."""

    type: Literal["transformers"] = "transformers"


class RequestOptions(Input):
    """How a server is asked."""

    concurrency: Annotated[int, Field(ge=1, le=256)] = 4
    """Requests in flight."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Longest wait for the answer to one request, in seconds."""
    retry_s: float = Field(default=300.0, gt=0)
    """A request that fails or is answered with garbage is repeated for so many seconds, then the attempt fails. The
    time in which the worker starts a server of ours again does not count."""


class ManagedVllm(RequestOptions):
    """On a vLLM server that the worker starts beside the trainer, watches, and stops again."""

    type: Literal["vllm"] = "vllm"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights; `auto` leaves the choice to vLLM, which takes 16 bits for most models."""
    gpu_memory_fraction: float | None = Field(default=None, gt=0, le=0.95)
    """Share of its GPU's memory that the server takes for weights, activations, keys and values. By default what it can
    use, as far as the trainer and other servers on the same card leave it; 0.3 where a model's size is not known. A
    server on CPU goes by its environment's VLLM_CPU_KVCACHE_SPACE, if there is one."""
    max_model_tokens: Count | None = None
    """Longest sequence that the server takes; by default the model's own limit. Less saves memory. A discriminator's
    server refuses longer texts, and the attempt fails; texts to embed are cut to it."""


class VllmSampler(ManagedVllm):
    """On a vLLM server that the worker starts beside the trainer, and to which each update's weights are handed."""

    concurrency: Annotated[int, Field(ge=1, le=256)] = 64
    """Prompts in flight, each with its whole group."""
    timeout_s: float = Field(default=1800.0, gt=0)
    """Longest wait for all answers to one prompt, in seconds. A server that hangs is found much earlier."""


class ExternalServer(RequestOptions):
    """On a server that runs already, somewhere the operator allows."""

    type: Literal["server"] = "server"
    url: ServerAddress
    """Its address without a path such as `/v1`; no user, password or query."""
    api: Api = "vllm"
    """Which server it is: vLLM (`/pooling`, `/v1/embeddings`), sglang (`/classify`) or lmdeploy (`/pooling`)."""
    served_model: Name | None = None
    """The model's name there, which its list of models must have; by default `discriminator.model`. The tokenizer is
    still read from `discriminator.model`, since texts are cut to length before they are sent."""


Backend = Annotated[InProcess | ManagedVllm | ExternalServer, Field(discriminator="type")]
"""Where a discriminator runs."""
SamplerBackend = Annotated[InProcess | VllmSampler, Field(discriminator="type")]
"""Where rollouts are sampled: a server must be able to take the trainer's weights, so it is one of ours."""
