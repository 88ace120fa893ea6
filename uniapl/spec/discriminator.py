"""The discriminators a job may choose from: judges of how close a rollout is to the teacher's answer."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from uniapl.spec.backend import Backend, ExternalServer, InProcess
from uniapl.spec.base import Count, Input, Name


class EmbeddingDiscriminator(Input):
    """Cosine similarity between sentence embeddings of the student's answer and of the teacher's."""

    trained: ClassVar[bool] = False
    """Whether the job trains it; its model may then be a student."""
    type: Literal["embedding"] = "embedding"
    model: Name = "all-MiniLM-L6-v2"
    """Name of a sentence-embedding model in the registry, a hub id, or a local folder."""
    batch_size: Count = 64
    """Texts embedded at once; on a server, texts of one request."""
    backend: Backend = InProcess()
    """Where it runs."""

    @model_validator(mode="after")
    def _is_served_by_vllm(self) -> Self:
        if isinstance(self.backend, ExternalServer) and self.backend.api != "vllm":
            raise ValueError("backend.api: embeddings are asked for with vLLM's requests; leave it at 'vllm'")
        return self


class PolarDiscriminator(Input):
    """POLAR: a reward model that compares an answer with a reference (arXiv:2507.05197)."""

    trained: ClassVar[bool] = False
    type: Literal["polar"] = "polar"
    model: Name
    """Name, hub id or folder of a sequence classifier with one output, of an architecture that its backend knows."""
    wrapper: Literal["sft", "pretrain"] = "sft"
    """How prompt and answers are joined: `sft` for the fine-tuned models, `pretrain` for the base."""
    batch_size: Count = 8
    """Pairs scored at once; on a server, pairs of one request."""
    backend: Backend = InProcess()
    """Where it runs."""


class LearnedDiscriminator(Input):
    """A scalar head on the student's own base, trained beside the policy to prefer the teacher's answer."""

    trained: ClassVar[bool] = True
    type: Literal["learned"] = "learned"
    model: Name | None = None
    """What it starts from; by default the student as it was at the job's first step."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """AdamW's, constant."""
    warmup_steps: int = Field(default=10, ge=0, le=2**31 - 1)
    """Updates of its own before its scores are used: L_ADV has no rows until then."""
    batch_size: Count = 8
    """Answers scored, or pairs learned from, at once."""


Discriminator = Annotated[
    EmbeddingDiscriminator | PolarDiscriminator | LearnedDiscriminator, Field(discriminator="type")
]
