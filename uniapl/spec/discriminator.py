"""The discriminators a job may choose from: judges of how close a rollout is to the teacher's answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from uniapl.spec.base import Count, Input, Name


class EmbeddingDiscriminator(Input):
    """Cosine similarity between sentence embeddings of the student's answer and of the teacher's."""

    type: Literal["embedding"] = "embedding"
    model: Name = "all-MiniLM-L6-v2"
    """Name of a sentence-embedding model in the registry, a hub id, or a local folder."""
    batch_size: Count = 64
    """Texts embedded at once."""


class PolarDiscriminator(Input):
    """POLAR: a reward model that compares an answer with a reference (arXiv:2507.05197), in the trainer's process."""

    type: Literal["polar"] = "polar"
    model: Name
    """Name, hub id or folder of a sequence classifier with one output, of an architecture that transformers know."""
    wrapper: Literal["sft", "pretrain"] = "sft"
    """How prompt and answers are joined: `sft` for the fine-tuned models, `pretrain` for the base."""
    batch_size: Count = 8
    """Pairs scored at once."""


class LearnedDiscriminator(Input):
    """A scalar head on the student's own base, trained beside the policy to prefer the teacher's answer."""

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
