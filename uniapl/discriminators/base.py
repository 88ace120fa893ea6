"""The discriminator protocol, a base class for frozen discriminators, and a cache of batched inference."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from uniapl.errors import ScoreError
from uniapl.run.signals import raise_if_stopped

CACHED_ITEMS = 2**15
"""Largest number of cached items: 48 MiB at 384 floats each."""


class Comparison(NamedTuple):
    """One input of a discriminator."""

    prompt: str
    reference: str
    """The teacher's answer."""
    output: str
    """The student's answer."""


class Discriminator(Protocol):
    """Scores outputs against references; higher is closer to the teacher.

    A discriminator that is never trained inherits all but `default_scale` and `score` from `FrozenDiscriminator`.
    """

    default_scale: float
    """Factor that brings the within-group spread of the scores to the order of one."""
    remote: bool
    """Whether another process computes the scores, so that scoring can overlap with sampling."""

    @property
    def version(self) -> int | None:
        """Number of updates so far; `None` for a discriminator that is never trained."""
        ...

    @property
    def ready(self) -> bool:
        """Whether scores may be used; false while a discriminator warms up."""
        ...

    def score(self, comparisons: Sequence[Comparison]) -> Tensor:
        """(N,) float32 on the CPU, in the order of `comparisons`; NaN where there is no finite score.

        A missing score is never replaced by a number: 0 is a high score to a logit discriminator. The caller leaves
        such rows out, counts them, and fails above `adversarial.max_failed_fraction`.

        Raises:
            ScoreError: the model returns more or fewer scores than there are comparisons.
        """
        ...

    def learn(self, comparisons: Sequence[Comparison]) -> dict[str, float]:
        """Train on the comparisons of one step, after the policy's update; returns metrics named `disc/…`.

        Raises:
            DivergedError: the loss is not finite.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the state into `folder`, which is created; without a state, do nothing."""
        ...

    def load(self, folder: Path) -> None:
        """Restore the state that `save` wrote.

        Raises:
            CheckpointError: a file is missing or does not fit the model.
        """
        ...


class FrozenDiscriminator:
    """Base class of discriminators that are never trained: always ready, and without a state to save."""

    remote = False

    @property
    def version(self) -> int | None:
        """See `Discriminator.version`."""
        return None

    @property
    def ready(self) -> bool:
        """See `Discriminator.ready`."""
        return True

    def learn(self, comparisons: Sequence[Comparison]) -> dict[str, float]:
        """See `Discriminator.learn`; does nothing."""
        return {}

    def save(self, folder: Path) -> None:
        """See `Discriminator.save`; does nothing."""

    def load(self, folder: Path) -> None:
        """See `Discriminator.load`; does nothing."""


Item = TypeVar("Item", bound=tuple[str, ...])


class BatchCache(Generic[Item]):
    """Runs a model over the distinct items of a call in batches, and caches the results of whole batches.

    The unit of the cache is the batch, not the item. A float32 result depends in its last bits on the rest of the
    batch: padding alone changes it by about 2e-5 (measured on a CPU; batches of equal length agreed bit for bit there
    at any size, which no GPU kernel guarantees). If single items were taken from earlier calls, scores would depend on
    those calls, and a resumed run, whose cache starts empty, would diverge from an uninterrupted one. A batch is a
    function of the current call alone, and a forward pass is a function of its batch.

    An item that recurs among other items hits the cache only with `size` 1. That is no slower on a CPU (MiniLM, 64
    texts of 40 tokens on one core: 1.2 s one by one, 1.3 s together), but leaves a GPU idle.
    """

    def __init__(self, compute: Callable[[list[Item]], Tensor], size: int) -> None:
        """
        Args:
            compute: maps n distinct items to results (n, ...) in float32.
            size: the largest n.
        """
        self._compute = compute
        self._size = size
        self._seen: OrderedDict[bytes, Tensor] = OrderedDict()

    def __call__(self, asked: Sequence[Item], version: int = 0) -> Tensor:  # (N, ...) on the CPU
        """Results in the order of the items, NaN where not finite; `version` is that of the model.

        Raises:
            ScoreError: `compute` returns more or fewer results than items.
        """
        unique = sorted(set(asked), key=lambda item: (sum(map(len, item)), item))  # similar lengths: little padding
        batches = [unique[i : i + self._size] for i in range(0, len(unique), self._size)]
        if not batches:
            return torch.zeros(0)
        results = torch.cat([self._result(batch, version) for batch in batches])
        position = {item: i for i, item in enumerate(unique)}
        return results[[position[item] for item in asked]]

    def _result(self, batch: list[Item], version: int) -> Tensor:  # (n, ...)
        key = hashlib.sha256(repr((version, batch)).encode()).digest()
        if key in self._seen:
            self._seen.move_to_end(key)
            return self._seen[key]
        raise_if_stopped()
        result = self._compute(batch).float().cpu()
        if result.shape[:1] != (len(batch),):
            raise ScoreError(
                f"the model returned a result of shape {tuple(result.shape)} for {len(batch)} items",
                param="discriminator",
            )
        finite = torch.isfinite(result)
        if finite.all():  # failures are retried
            self._seen[key] = result
            while len(self._seen) * self._size > CACHED_ITEMS:
                self._seen.popitem(last=False)
        return result.masked_fill(~finite, torch.nan)
