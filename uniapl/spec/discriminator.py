"""Discriminators: models that score a rollout against the teacher's answer."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from uniapl.spec.backend import Backend, ExternalServer, InProcess
from uniapl.spec.base import Count, Input, Name


class EmbeddingDiscriminator(Input):
    """Cosine similarity of the sentence embeddings of the student's and the teacher's answer."""

    trained: ClassVar[bool] = False
    """Whether the job trains it; its model may then be a student."""
    type: Literal["embedding"] = "embedding"
    model: Name = "all-MiniLM-L6-v2"
    """Sentence-embedding model: name from `GET /models`, hub id, or local folder."""
    batch_size: Count = 64
    """Texts per batch; with a server, texts per request."""
    backend: Backend = InProcess()
    """Inference backend."""

    @model_validator(mode="after")
    def _is_served_by_vllm(self) -> Self:
        if isinstance(self.backend, ExternalServer) and self.backend.api != "vllm":
            raise ValueError(f"backend.api: {self.backend.api!r} is not supported for embeddings; set it to 'vllm'")
        return self


class PolarDiscriminator(Input):
    """POLAR, a reward model that compares an answer with a reference (arXiv:2507.05197)."""

    trained: ClassVar[bool] = False
    longest_text: ClassVar[int] = 16384 + 128
    """Tokens of the longest text after POLAR's truncation, and some for texts that are encoded anew at their cuts."""
    type: Literal["polar"] = "polar"
    model: Name
    """Reward model: `internlm/POLAR-1_8B`, `internlm/POLAR-7B`, or a sequence classifier with one output; name from
    `GET /models`, hub id, or local folder. InternLM2 reward models are converted once; other architectures must be
    supported by the backend."""
    wrapper: Literal["sft", "pretrain"] = "sft"
    """Format that joins prompt and answers: `sft` for fine-tuned models, `pretrain` for base models."""
    batch_size: Count = 8
    """Pairs per batch; with a server, pairs per request."""
    backend: Backend = InProcess()
    """Inference backend."""


class LearnedDiscriminator(Input):
    """A scalar head on the student's base model, trained during the run to prefer the teacher's answer."""

    trained: ClassVar[bool] = True
    type: Literal["learned"] = "learned"
    model: Name | None = None
    """Initial model; by default the student before the job's first step."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Constant learning rate of AdamW."""
    warmup_steps: int = Field(default=10, ge=0, le=2**31 - 1)
    """Discriminator updates before its scores are used; L_ADV has no rows until then."""
    batch_size: Count = 8
    """Answers per scoring batch, or pairs per training batch."""


Discriminator = Annotated[
    EmbeddingDiscriminator | PolarDiscriminator | LearnedDiscriminator, Field(discriminator="type")
]
