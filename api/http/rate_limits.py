"""Limits of one tenant in one API process: rate of requests, number of uploads and event streams."""

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
    """A limit of the tenant is reached; the request had no effect."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Limits:
    """Counters in memory; each API process has its own, so the limits of several processes add up."""

    def __init__(self, settings: Settings) -> None:
        self._rate = RateLimitItemPerSecond(settings.requests_per_s * WINDOW_S, WINDOW_S)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._limits: dict[Kind, int] = {"uploads": settings.tenant_uploads, "streams": settings.tenant_streams}
        self._running: Counter[tuple[Kind, str]] = Counter()
        self._lock = threading.Lock()

    def count_request(self, tenant: str) -> None:
        """
        Raises:
            LimitReached: the tenant exceeds its rate.
        """
        if not self._limiter.hit(self._rate, tenant):
            allowed = self._rate.amount // WINDOW_S
            raise LimitReached(f"more than {allowed} requests per second during {WINDOW_S} s; send fewer", 1)

    def begin(self, kind: Kind, tenant: str) -> None:
        """Count one more of the tenant, until `end`.

        Raises:
            LimitReached: the tenant has reached its limit.
        """
        with self._lock:
            if self._running[kind, tenant] >= self._limits[kind]:
                raise LimitReached(f"{self._limits[kind]} {kind} are open; close one first", 5)
            self._running[kind, tenant] += 1

    def end(self, kind: Kind, tenant: str) -> None:
        """Count one less of the tenant."""
        with self._lock:
            self._running[kind, tenant] -= 1
            if self._running[kind, tenant] <= 0:
                del self._running[kind, tenant]

    @contextmanager
    def one_of(self, kind: Kind, tenant: str) -> Iterator[None]:
        """Count one more of the tenant while the block runs.

        Raises:
            LimitReached: the tenant has reached its limit.
        """
        self.begin(kind, tenant)
        try:
            yield
        finally:
            self.end(kind, tenant)
