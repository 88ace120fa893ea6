"""What a discriminator is: a judge of how close an output is to the teacher's answer."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from uniapl.errors import ScoreError
from uniapl.run.signals import raise_if_stopped

CACHED_ITEMS = 2**15
"""Items whose results are remembered, at most: 48 MiB of 384 floats each."""


class Comparison(NamedTuple):
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
        """(N,) float32 on the CPU, in the order asked; NaN where there is no finite score.

        Nothing is ever put in the place of a missing score: 0 is a high one to a logit discriminator. Who asks leaves
        such rows out, counts them, and gives up above `adversarial.max_failed_fraction`.

        Raises:
            ScoreError: there are more or fewer answers than questions.
        """
        ...


Item = TypeVar("Item", bound=tuple[str, ...])


class BatchCache(Generic[Item]):
    """Runs a model over texts: each once per call, in batches, and not again for a batch it has seen.

    The unit of the cache is the batch, not the item. A float32 result depends in its last bits on what else is in the
    batch: padding alone moves it by about 2e-5 (measured on a CPU; there, batches of equal length agreed bit for bit
    at any size, which no GPU kernel promises). Were single items left out because an earlier step had asked for them,
    scores would depend on what ran before, and a resumed run, whose cache starts empty, would leave the path of an
    unbroken one. A batch, in contrast, is a function of the call alone, and a forward pass is one of its batch.

    What comes back in other company is found again only with `size` 1. That is no slower on a CPU (MiniLM, 64 texts of
    40 tokens on one core: 1.2 s one by one, 1.3 s together), but would leave a GPU idle.
    """

    def __init__(self, compute: Callable[[list[Item]], Tensor], size: int) -> None:
        """
        Args:
            compute: from n unique items to their results (n, ...), in float32.
            size: the largest n.
        """
        self._compute = compute
        self._size = size
        self._seen: OrderedDict[bytes, Tensor] = OrderedDict()

    def __call__(self, asked: Sequence[Item], version: int = 0) -> Tensor:  # (N, ...) on the CPU
        """Results in the order asked, NaN where they are not finite; `version` is that of the model.

        Raises:
            ScoreError: `compute` gives more or fewer results than it was given items.
        """
        unique = sorted(set(asked), key=lambda item: (sum(map(len, item)), item))  # alike lengths: little padding
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
            raise ScoreError(f"asked for {len(batch)} scores, got {tuple(result.shape)}", param="discriminator")
        finite = torch.isfinite(result)
        if finite.all():  # what failed is tried again
            self._seen[key] = result
            while len(self._seen) * self._size > CACHED_ITEMS:
                self._seen.popitem(last=False)
        return result.masked_fill(~finite, torch.nan)
