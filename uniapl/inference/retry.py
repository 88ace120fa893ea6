"""Waits between the attempts of one HTTP request: exponential backoff with jitter, and the `Retry-After` header.

The loops themselves stay with the clients, since the budget of a request and what ends it early differ.
"""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 60.0


def wait_s(attempt: int, *, retry_after_s: float = 0.0, longest_backoff_s: float = LONGEST_BACKOFF_S) -> float:
    """Seconds between failure number `attempt`, from 0, and the next request.

    Args:
        attempt: the backoff doubles with each.
        retry_after_s: the server's own request, to which the backoff is added.
        longest_backoff_s: upper bound of the backoff alone.
    """
    return retry_after_s + min(backoff_s(attempt), longest_backoff_s)


def backoff_s(attempt: int) -> float:
    """Doubles with each attempt, then shortened by up to a half at random, so that clients do not retry in step."""
    return min(FIRST_BACKOFF_S * 2.0**attempt, LONGEST_BACKOFF_S) * random.Random().uniform(0.5, 1.0)


def retry_after_s(header: str | None) -> float:
    """Seconds from now in a `Retry-After` header, a number or a date (RFC 9110, 10.2.3); 0 if absent or unusable."""
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            until = parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0
