"""Waits between the attempts of a request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from uniapl.inference.retry import backoff_s, retry_after_s, wait_s

pytestmark = pytest.mark.unit


def test_retry_after_in_every_form() -> None:
    assert retry_after_s("17") == 17
    assert retry_after_s(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)) == pytest.approx(
        3600, abs=2
    )
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    for useless in (None, "", "soon", "-5", "nan", "inf", past, "Wed, 99 Oct 2015 07:28:00 GMT"):
        assert retry_after_s(useless) == 0


def test_waits_double_and_spread_and_are_bounded() -> None:
    for attempt, longest in ((0, 0.5), (1, 1.0), (4, 8.0), (100, 60.0)):
        waits = [backoff_s(attempt) for _ in range(200)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert max(waits) - min(waits) > longest / 4  # 200 uniform draws over half of it


def test_the_backoff_is_added_to_retry_after() -> None:
    waits = [wait_s(4, retry_after_s=17.0, longest_backoff_s=5.0) for _ in range(200)]
    assert 17.0 + 4.0 <= min(waits) < max(waits) == 17.0 + 5.0
    assert 8.0 / 2 <= wait_s(4) <= 8.0
