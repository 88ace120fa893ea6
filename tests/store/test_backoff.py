"""Waits between tries."""

from __future__ import annotations

import pytest

from store.backoff import wait_s

pytestmark = pytest.mark.unit


def test_the_wait_doubles_up_to_a_bound_however_many_failures_there_are() -> None:
    assert [wait_s(5.0, failures) for failures in (1, 2, 3, 6, 7, 5000)] == [5, 10, 20, 160, 160, 160]
