"""What a discriminator is: a frozen judge of how close an output is to the teacher's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from uniapl.errors import ScoreError


@dataclass(frozen=True)
class Comparison:
    """One question to the discriminator."""

    prompt: str
    reference: str
    """The teacher's answer."""
    output: str
    """The student's answer."""


class Discriminator(Protocol):
    """Scores outputs against references; higher is closer to the teacher."""

    default_scale: float
    """Factor that brings the within-group spread of its scores to the order of one."""

    def score(self, comparisons: Sequence[Comparison]) -> Tensor:
        """(N,) float32 on the CPU, in the order asked.

        Raises:
            ScoreError: an answer is missing or not finite.
        """
        ...


def checked(scores: Tensor, asked: int) -> Tensor:
    """Let scores through only if there is one for each question and all are finite.

    Raises:
        ScoreError: otherwise; such a score must never reach a gradient.
    """
    if scores.shape != (asked,):
        raise ScoreError(f"asked for {asked} scores, got shape {tuple(scores.shape)}")
    if not torch.isfinite(scores).all():
        bad = int((~torch.isfinite(scores)).nonzero()[0])
        raise ScoreError(f"score {bad} of {asked} is {scores[bad].item()}")
    return scores
