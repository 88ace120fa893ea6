"""Inference backends of the discriminator and the sampler: in process, a managed vLLM server, an external server."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from uniapl.spec.base import Count, Input, Name, ServerAddress

Api = Literal["vllm", "sglang", "lmdeploy"]
"""Protocol of a scoring server."""

ServerRole = Literal["discriminator", "rollout"]
"""Role of a server that the worker starts for a job."""


VLLM_LORA_RANK = 512
"""Largest rank of an adapter that vLLM serves."""


class InProcess(Input):
    """Transformers in the trainer's process."""

    type: Literal["transformers"] = "transformers"


class RequestOptions(Input):
    """Concurrency, timeout and retries of requests to a server."""

    concurrency: Annotated[int, Field(ge=1, le=256)] = 4
    """Maximum number of concurrent requests."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Timeout of one request, in seconds."""
    retry_s: float = Field(default=300.0, gt=0)
    """Seconds during which a failed request, or one with an invalid reply, is retried before the attempt fails.
    Restarts of a managed server do not count."""


class ManagedVllm(RequestOptions):
    """A vLLM server that the worker starts, monitors and stops."""

    type: Literal["vllm"] = "vllm"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Data type of the weights; with `auto` vLLM chooses, 16 bits for most models."""
    gpu_memory_fraction: float | None = Field(default=None, gt=0, le=0.95)
    """Fraction of GPU memory that the server reserves for weights, activations and KV cache. By default the service
    computes it from what the trainer and other servers on the same GPU leave free; 0.3 if a model's size is unknown. A
    CPU server uses VLLM_CPU_KVCACHE_SPACE from its environment, if set."""
    max_model_tokens: Count | None = None
    """Maximum sequence length of the server; by default the model's own limit, and for a sampler that of the job's
    prompts and completions. A smaller value saves memory. Longer inputs of a scoring server fail the attempt; texts to
    embed are truncated."""


class VllmSampler(ManagedVllm):
    """A vLLM server that the worker starts, and that receives the policy's weights after each update."""

    concurrency: Annotated[int, Field(ge=1, le=256)] = 64
    """Maximum number of concurrent prompts, each with its group of completions."""
    timeout_s: float = Field(default=1800.0, gt=0)
    """Timeout of all completions of one prompt, in seconds. Health checks detect a hung server much earlier."""


class ExternalServer(RequestOptions):
    """A running server at an address that the operator allows."""

    type: Literal["server"] = "server"
    url: ServerAddress
    """Address without a path such as `/v1`; no user, password or query."""
    api: Api = "vllm"
    """Protocol of the server: vLLM (`/pooling`, `/v1/embeddings`), sglang (`/classify`) or lmdeploy (`/pooling`)."""
    served_model: Name | None = None
    """Model name on the server, which the server's model list must contain; by default `discriminator.model`. The
    tokenizer always comes from `discriminator.model`, because texts are truncated before they are sent."""


Backend = Annotated[InProcess | ManagedVllm | ExternalServer, Field(discriminator="type")]
"""Backend of a discriminator."""
SamplerBackend = Annotated[InProcess | VllmSampler, Field(discriminator="type")]
"""Backend of the sampler; a server has to be managed, since it must accept the trainer's weights."""
