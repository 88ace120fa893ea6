"""What the sync and the async client do differently: wait, and do what takes long.

`generate.py` replaces `async_sleep` by `sleep` and `async_run` by `run`; everything else is one source.
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
    """Call a function that reads or hashes files."""
    return function()


async def async_run(function: Callable[[], T]) -> T:
    """Call it in a thread, so that the event loop goes on."""
    return await anyio.to_thread.run_sync(function)
