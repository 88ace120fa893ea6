"""Exponential backoff: the wait before the next try, for retries of jobs and restarts of servers."""

from __future__ import annotations

MAX_FACTOR = 32
"""The wait doubles up to this many times the first one."""


def wait_s(first_s: float, failures: int) -> float:
    """Seconds to wait after this many failures in a row, at least one: `first_s`, doubled for each further one."""
    return first_s * min(1 << (failures - 1), MAX_FACTOR)
