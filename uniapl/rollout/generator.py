"""What a rollout backend is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Completion:
    """One sampled answer."""

    ids: list[int]
    """Sampled tokens, the end token included when there is one."""
    logprobs: list[float]
    """Nats, one per token, under the policy and temperature that sampled it."""
    truncated: bool
    """Whether it reached the token limit without an end token."""
    version: int | None = None
    """Updates that the sampler's weights had had; `None` from a sampler that has the policy's very own."""


OnGroup = Callable[[int, list[Completion]], None]
"""Told the number of a prompt, and its completions."""


class Generator(Protocol):
    """Samples completions from the current policy."""

    def sync(self, version: int) -> None:
        """Take the policy's weights, which have had `version` updates; to be called before sampling.

        Raises:
            ServerError: the sampler has not taken them in time.
        """
        ...

    def sample(
        self,
        prompts: Sequence[list[int]],
        *,
        group_size: int,
        seed: int,
        greedy: bool = False,
        on_group: OnGroup | None = None,
    ) -> list[list[Completion]]:
        """Sample `group_size` completions for each of P prompts.

        Args:
            prompts: token ids, chat template included.
            group_size: completions per prompt.
            seed: decides every sampled token; the result does not depend on how prompts are batched.
            greedy: take the likeliest token instead of sampling.
            on_group: told of each prompt's completions as soon as they are there, by a sampler on a server.
        """
        ...
