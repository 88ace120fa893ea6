"""What one tenant may use of one API process: requests by rate, uploads and event streams by number."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from store.settings import Settings

WINDOW_S = 10
Kind = Literal["uploads", "streams"]


class LimitReached(Exception):
    """Too much at once; nothing was done."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Limits:
    """Counts in memory: several API processes allow as many times as much."""

    def __init__(self, settings: Settings) -> None:
        self._rate = RateLimitItemPerSecond(settings.requests_per_s * WINDOW_S, WINDOW_S)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._most: dict[Kind, int] = {"uploads": settings.tenant_uploads, "streams": settings.tenant_streams}
        self._running: Counter[tuple[Kind, str]] = Counter()
        self._lock = threading.Lock()

    def count_request(self, tenant: str) -> None:
        """
        Raises:
            LimitReached: the tenant asks too often.
        """
        if not self._limiter.hit(self._rate, tenant):
            allowed = self._rate.amount // WINDOW_S
            raise LimitReached(f"more than {allowed} requests a second for {WINDOW_S} s; slow down", 1)

    def begin(self, kind: Kind, tenant: str) -> None:
        """The tenant has one more, until `end`.

        Raises:
            LimitReached: it has as many as it may.
        """
        with self._lock:
            if self._running[kind, tenant] >= self._most[kind]:
                raise LimitReached(f"{self._most[kind]} {kind} are open already; end one first", 5)
            self._running[kind, tenant] += 1

    def end(self, kind: Kind, tenant: str) -> None:
        """The tenant has one less."""
        with self._lock:
            self._running[kind, tenant] -= 1
            if self._running[kind, tenant] <= 0:
                del self._running[kind, tenant]

    @contextmanager
    def one_of(self, kind: Kind, tenant: str) -> Iterator[None]:
        """One more while the block runs.

        Raises:
            LimitReached: the tenant has as many as it may.
        """
        self.begin(kind, tenant)
        try:
            yield
        finally:
            self.end(kind, tenant)
