"""How a step is cut into micro-batches: one rule for the trainer and for the estimate of its memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def pack(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices of micro-batches of at most `max_tokens` padded tokens, longest sequences first.

    Sorting keeps padding low; starting with the longest shows early whether the step fits into memory. A single
    sequence longer than `max_tokens` passes alone.
    """
    pending: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
        if pending and lengths[pending[0]] * (len(pending) + 1) > max_tokens:
            yield pending
            pending = []
        pending.append(i)
    if pending:
        yield pending


def prompts_at_once(batch_size: int, group_size: int) -> int:
    """Prompts whose groups are sampled together: a group is never parted."""
    return max(1, batch_size // group_size)
