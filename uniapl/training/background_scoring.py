"""A background thread that scores completions while others are still being sampled."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class BackgroundScorer(Generic[Key, Result]):
    """Runs scoring functions one at a time, in the order of submission.

    One thread serves the whole run: child processes that it starts may end with the thread that started them.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        self._futures: dict[Key, Future[Result]] = {}
        self._spans: list[tuple[float, float]] = []

    def submit(self, key: Key, score: Callable[[], Result]) -> None:
        """Schedule `score`; its result is found under `key`. A key that is scheduled already is not scored again."""
        if key not in self._futures:
            self._futures[key] = self._executor.submit(self._timed, score)

    def drain(self, sampled_at: float) -> tuple[dict[Key, Future[Result]], float]:
        """Wait for everything submitted, and forget it.

        Returns:
            The finished futures, of which each raises what its scoring function raised when its result is taken; and
            the seconds of scoring that fell before `sampled_at` (monotonic).
        """
        futures, self._futures = self._futures, {}
        wait(futures.values())
        spans, self._spans = self._spans, []
        return futures, sum(max(0.0, min(end, sampled_at) - start) for start, end in spans)

    def cancel(self) -> None:
        """Discard what has not begun, and wait for what has."""
        for future in self._futures.values():
            future.cancel()
        wait(self._futures.values())
        self._futures.clear()
        self._spans.clear()

    def _timed(self, score: Callable[[], Result]) -> Result:
        started = time.monotonic()
        try:
            return score()
        finally:
            self._spans.append((started, time.monotonic()))
