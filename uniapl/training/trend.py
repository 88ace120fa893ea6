"""Robust statistics: median absolute deviation, Mann-Kendall trend test and Theil-Sen slope."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Sequence as Seq

NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation, 1 / Φ⁻¹(3/4)."""


def median_deviation(values: Seq[float]) -> float:
    """Median absolute deviation from the median, scaled to the standard deviation of a normal distribution."""
    center = statistics.median(values)
    return NORMAL_MAD * statistics.median(abs(value - center) for value in values)


def mann_kendall(values: Seq[float]) -> float:
    """z-score of the Mann-Kendall test for a monotonic trend (H. B. Mann, Econometrica 13, 1945); positive is upward.

        S = sum_{i<j} sign(x_j - x_i),   z = (S - sign S) / sqrt(var S)
        var S = (n(n-1)(2n+5) - sum_ties t(t-1)(2t+5)) / 18

    Only the order matters, so one outlier makes no trend. Equal values, common among rewards, reduce the variance.
    """

    def pairs(n: int) -> int:
        return n * (n - 1) * (2 * n + 5)

    S = sum((b > a) - (b < a) for a, b in itertools.combinations(values, 2))
    variance = (pairs(len(values)) - sum(pairs(t) for t in Counter(values).values())) / 18
    return (S - math.copysign(1, S)) / math.sqrt(variance) if S else 0.0


def change(values: Seq[float]) -> float:
    """Change of a series from its first to its last step: the Theil-Sen slope times the number of steps between.

    The slope is the median of all pairs' slopes (P. K. Sen, JASA 63, 1968). At least two values.
    """
    slopes = ((b - a) / (j - i) for (i, a), (j, b) in itertools.combinations(enumerate(values), 2))
    return statistics.median(slopes) * (len(values) - 1)
