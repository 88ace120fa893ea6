"""Retry policy: which responses are retried, how often, and with which backoff."""

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
    """Limits of the retries of one request.

    Args:
        max_retries: maximum number of attempts after the first.
        deadline_s: seconds after the first failure from which no attempt is started.
    """

    max_retries: int
    deadline_s: float


class Attempts:
    """Retry state of one request."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._made = 0
        self._end: float | None = None

    def pause_s(self, wanted: float | None, *, known: bool) -> float | None:
        """Seconds to wait before the next attempt; `None` if no attempt is left.

        Args:
            wanted: wait required by the service.
            known: whether the service has ever responded. Otherwise the address is probably wrong, and few attempts
                report that soon.
        """
        allowed = self._patience.max_retries
        if self._made >= (allowed if known else min(allowed, FIRST_CONTACT_RETRIES)):
            return None
        self._end = self._end or time.monotonic() + self._patience.deadline_s
        pause = random.uniform(0, min(CAP_S, BASE_S * 2.0**self._made)) if wanted is None else wanted
        self._made += 1
        return pause if time.monotonic() + pause < self._end else None


def is_retried(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a response should be retried; the header `x-should-retry` overrides the status."""
    header = headers.get("x-should-retry")
    return status in RETRIED if header not in ("true", "false") else header == "true"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Wait required by the service, in seconds, from `retry-after-ms` or `Retry-After` (seconds or a date)."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError):
        return None
