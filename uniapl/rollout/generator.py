"""The protocol of rollout backends."""

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
    """Number of updates in the sampler's weights; `None` from a sampler that shares the policy's weights."""


OnGroup = Callable[[int, list[Completion]], None]
"""Called with the index of a prompt and its completions."""


class Generator(Protocol):
    """Samples completions from the current policy."""

    def sync(self, version: int) -> None:
        """Load the policy's weights after `version` updates; call it before sampling.

        Raises:
            ServerError: the sampler did not load them in time.
        """
        ...

    def release(self) -> None:
        """Free the sampler's memory on a card that it shares with the trainer, until the next `sync`.

        Raises:
            ServerError: the sampler did not release it in time.
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
            seed: determines every sampled token; the result does not depend on how prompts are batched.
            greedy: take the likeliest token instead of sampling.
            on_group: called for each prompt as soon as its completions are complete, by a sampler on a server.
        """
        ...
