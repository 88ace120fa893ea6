"""Judges answers while others are still being sampled.

What is judged ahead is only remembered; whoever needs it asks the same question again and finds the answer there, so
nothing depends on how far this came. One thread for the whole run: processes that it starts end with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from uniapl.errors import UniaplError


class BackgroundScorer:
    """A thread that judges in the order in which answers come."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._under_way: list[Future[tuple[float, float]]] = []

    def submit(self, judge: Callable[[], None]) -> None:
        """Judge something soon; an error is not told, since the question will be asked again."""

        def timed() -> tuple[float, float]:
            started = time.monotonic()
            with suppress(UniaplError):
                judge()
            return started, time.monotonic()

        self._under_way.append(self._executor.submit(timed))

    def drain(self, sampled_at: float) -> float:
        """Wait for all that was put; returns the seconds of it that fell before `sampled_at` (monotonic)."""
        spans = [future.result() for future in self._under_way]
        self._under_way.clear()
        return sum(max(0.0, min(end, sampled_at) - start) for start, end in spans)

    def cancel(self) -> None:
        """Give up what was put and has not begun, and wait for what has."""
        for future in self._under_way:
            future.cancel()
        wait(self._under_way)
        self._under_way.clear()
