"""Sleep and file access, blocking for the sync client and non-blocking for the async one.

`generate.py` replaces `async_sleep` with `sleep` and `async_run` with `run`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")

sleep = time.sleep
async_sleep = anyio.sleep


def run(function: Callable[[], T]) -> T:
    """Call a function with file access directly."""
    return function()


async def async_run(function: Callable[[], T]) -> T:
    """Call a function with file access in a thread, so that it does not block the event loop."""
    return await anyio.to_thread.run_sync(function)
