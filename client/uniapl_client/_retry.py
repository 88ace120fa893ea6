"""When a request is sent again, and how long to wait before."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

RETRIED = frozenset({408, 429, 502, 503, 504})
FIRST_CONTACT_RETRIES = 2
BASE_S, CAP_S = 0.5, 8.0


@dataclass(frozen=True)
class Patience:
    """How often and how long one request is tried.

    Args:
        max_retries: further attempts after the first.
        deadline_s: seconds from the first failure after which no other attempt is begun.
    """

    max_retries: int
    deadline_s: float


class Attempts:
    """The attempts of one request."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._made = 0
        self._end: float | None = None

    def pause_s(self, wanted: float | None, *, known: bool) -> float | None:
        """Seconds to wait before the next attempt; `None`: give up.

        Args:
            wanted: what the service has named.
            known: whether it has ever answered. One that has not gets few attempts: its address is probably wrong, and
                whoever gave it should be told.
        """
        allowed = self._patience.max_retries
        if self._made >= (allowed if known else min(allowed, FIRST_CONTACT_RETRIES)):
            return None
        self._end = self._end or time.monotonic() + self._patience.deadline_s
        pause = random.uniform(0, min(CAP_S, BASE_S * 2.0**self._made)) if wanted is None else wanted
        self._made += 1
        return pause if time.monotonic() + pause < self._end else None


def is_retried(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer asks for another attempt; the service's own word decides where it has one."""
    word = headers.get("x-should-retry")
    return status in RETRIED if word not in ("true", "false") else word == "true"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the service wants to be left alone, from `retry-after-ms` or `Retry-After` (seconds or a date)."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError):
        return None
