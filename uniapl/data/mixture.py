"""Dataset mixture: the rows of step k as a pure function of (seed, k).

The order needs no saved state, so a resumed run gets exactly the rows of an uninterrupted one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import floor

from uniapl.spec.job import MixEntry


@lru_cache(maxsize=64)
def _permutation(seed: int, entry: int, epoch: int, size: int) -> list[int]:
    order = list(range(size))
    random.Random(f"{seed}/{entry}/{epoch}").shuffle(order)
    return order


@lru_cache(maxsize=8)
def _table(shares: tuple[float, ...]) -> list[tuple[int, ...]]:
    """Rows of each entry before step 0, 1, …; extended on demand by `_rows_before`."""
    return [(0,) * len(shares)]


def _rows_before(shares: tuple[float, ...], step: int) -> tuple[int, ...]:
    """Rows of each entry before `step`.

    Every step takes the integer part of each entry's share. The remaining rows are assigned one by one to the most
    urgent entry (R. Tijdeman, The chairman assignment problem, 1980), so that every entry stays within one row of its
    share.
    """
    table = _table(shares)
    whole = [floor(share + 1e-9) for share in shares]
    left = round(sum(shares)) - sum(whole)  # rows of a step beyond the integer parts
    rates = [max(share - rows, 0.0) / max(left, 1) for share, rows in zip(shares, whole, strict=True)]
    margin = 1 / max(2 * len(shares) - 2, 1)
    while len(table) <= step:
        done = len(table) - 1
        given = [total - rows * done for total, rows in zip(table[-1], whole, strict=True)]
        for slot in range(done * left + 1, (done + 1) * left + 1):
            behind = [rate * slot - rows for rate, rows in zip(rates, given, strict=True)]
            waiting = [i for i in range(len(shares)) if rates[i] > 0 and behind[i] >= margin - 1e-9]
            given[min(waiting, key=lambda i: ((1 - margin - behind[i]) / rates[i], i))] += 1
        table.append(tuple(rows * (done + 1) + more for rows, more in zip(whole, given, strict=True)))
    return table[step]


def rows_of_step(
    step: int, *, mix: Sequence[MixEntry], sizes: Sequence[int], prompts_per_step: int, seed: int
) -> list[tuple[int, int]]:
    """The (entry, row) pairs of one step.

    Each entry is traversed in a new random order every epoch. Each entry is in every step, and over any number of steps
    within one row of its share.

    Args:
        step: 0 for the first policy update.
        mix: entries with their weights; each must be worth at least one row a step (`JobSpec` checks it).
        sizes: rows of each entry.
        prompts_per_step: rows of the step, over all entries.
        seed: seed of the job.
    """
    total = sum(entry.weight for entry in mix)
    shares = tuple(entry.weight / total * prompts_per_step for entry in mix)
    rows: list[tuple[int, int]] = []
    for i, size in enumerate(sizes):
        for position in range(_rows_before(shares, step)[i], _rows_before(shares, step + 1)[i]):
            epoch, offset = divmod(position, size)
            rows.append((i, _permutation(seed, i, epoch, size)[offset]))
    return rows


def further_rows(
    step: int, *, mix: Sequence[MixEntry], sizes: Sequence[int], prompts_per_step: int, seed: int
) -> Iterator[tuple[int, int]]:
    """The (entry, row) pairs that can be explored and are not in the step, each once, in a random order by weight.

    Args as `rows_of_step`.
    """
    own = rows_of_step(step, mix=mix, sizes=sizes, prompts_per_step=prompts_per_step, seed=seed)
    used: list[set[int]] = [{row for entry, row in own if entry == i} for i in range(len(mix))]
    source = random.Random(f"{seed}/further/{step}")
    while left := [i for i, e in enumerate(mix) if e.role in ("rl", "both") and len(used[i]) < sizes[i]]:
        (entry,) = source.choices(left, [mix[i].weight for i in left])
        row = source.randrange(sizes[entry])
        if row not in used[entry]:
            used[entry].add(row)
            yield entry, row
