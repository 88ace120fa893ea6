"""The discriminator that a job asks for."""

from __future__ import annotations

import torch

from uniapl.discriminators.base import Discriminator
from uniapl.discriminators.embedding import EmbeddingDiscriminator
from uniapl.discriminators.learned import LearnedDiscriminator
from uniapl.discriminators.polar import PolarDiscriminator
from uniapl.spec.job import JobSpec
from uniapl.spec.run import RunConfig


def load_discriminator(spec: JobSpec, run: RunConfig, device: torch.device) -> Discriminator:
    """Load it by its `type`; a learned one starts untrained, and `load` takes up a checkpoint's.

    Raises:
        ModelError: its model cannot be loaded.
    """
    chosen = spec.discriminator
    source = run.model_source(chosen.model or spec.student)
    match chosen.type:
        case "embedding":
            return EmbeddingDiscriminator(source, batch_size=chosen.batch_size, device=device)
        case "polar":
            return PolarDiscriminator(source, wrapper=chosen.wrapper, batch_size=chosen.batch_size, device=device)
        case "learned":
            return LearnedDiscriminator(source, options=chosen, seed=spec.seed, device=device)
