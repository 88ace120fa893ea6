"""Terminal plot of a metric with braille characters of 2 x 4 dots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

ROWS, MARGIN = 6, 12
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille character by column and row."""


def draw(name: str, points: Sequence[tuple[int, float]], width: int) -> str:
    """A plot with a title.

    Args:
        name: title.
        points: (step, value), ordered by step; non-finite values are skipped.
        width: total width in characters.
    """
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    if not finite:
        return f"{name}: no finite values"
    steps, values = [step for step, _ in finite], [value for _, value in finite]
    low, high, first, last = min(values), max(values), steps[0], steps[-1]
    columns = max(10, width - MARGIN - 2)
    cells = [[0] * columns for _ in range(ROWS)]
    across = 2 * columns - 1
    for x in range(across + 1):
        value = _between(finite, first + (last - first) * x / across)
        y = round((high - value) / (high - low) * (4 * ROWS - 1)) if high > low else 2 * ROWS
        cells[y // 4][x // 2] |= DOTS[x % 2][y % 4]
    labels = {0: f"{high:.4g}", ROWS - 1: f"{low:.4g}"}
    lines = [f"{labels.get(i, ''):>{MARGIN}} ┤{''.join(chr(0x2800 + c) for c in row)}" for i, row in enumerate(cells)]
    foot = f"{'step':>{MARGIN}}  {first:<{columns - 10}}{last:>10}"
    return "\n".join([f"{name}  (last {values[-1]:.6g})", *lines, foot])


def _between(points: Sequence[tuple[int, float]], step: float) -> float:
    """Linear interpolation of the value at `step`."""
    for (left, before), (right, after) in pairwise(points):
        if left <= step <= right:
            return before + (after - before) * (step - left) / (right - left or 1)
    return points[-1][1]
