"""Which rows step k takes from the dataset mix: a pure function of (seed, k).

Nothing about the order has to be saved, so a resumed run sees exactly the rows an unbroken one would.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from math import floor

from uniapl.spec.job import MixEntry


@lru_cache(maxsize=64)
def _permutation(seed: int, entry: int, epoch: int, size: int) -> list[int]:
    order = list(range(size))
    random.Random(f"{seed}/{entry}/{epoch}").shuffle(order)
    return order


def rows_of_step(
    step: int, *, mix: Sequence[MixEntry], sizes: Sequence[int], prompts_per_step: int, seed: int
) -> list[tuple[int, int]]:
    """The (entry, row) pairs of one step.

    Each entry is walked in a fresh random order every epoch, so no row comes twice before all have come once. The
    entries' shares are exact over the run and differ by at most one row between steps.

    Args:
        step: 0 for the first policy update.
        mix: entries with their weights; each must be worth at least one row a step (`JobSpec` checks it).
        sizes: rows of each entry.
        prompts_per_step: rows of the step, over all entries.
        seed: the job's seed.
    """
    total = sum(entry.weight for entry in mix)
    rows: list[tuple[int, int]] = []
    low = 0.0  # cumulative share of the entries before this one
    for i, (entry, size) in enumerate(zip(mix, sizes, strict=True)):
        high = low + entry.weight / total

        def taken(steps: int, low: float = low, high: float = high) -> int:
            per_step = prompts_per_step * steps
            return floor(high * per_step + 1e-6) - floor(low * per_step + 1e-6)

        for position in range(taken(step), taken(step + 1)):
            epoch, offset = divmod(position, size)
            rows.append((i, _permutation(seed, i, epoch, size)[offset]))
        low = high
    return rows
