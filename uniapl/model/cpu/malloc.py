"""glibc is told to keep what a step has freed for the next one.

By default it hands large blocks back to the kernel at once and trims the heap's end, and every step gets its
activations as new pages, which the kernel must clear: 1.2 of a step's 8 CPU-seconds (docs/benchmarks/train.md).
Numbers do not change, and the peak only by what lies between blocks.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
LARGEST_KEPT = 2**27
"""Bytes: activations and chunks of logits are smaller; weights and caches of many sequences are larger."""
LARGEST_ALLOWED = 2**25
"""Bytes: what older versions accept."""
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """For this process, from now on; does nothing where the C library is another."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and any(mallopt(M_MMAP_THRESHOLD, size) for size in (LARGEST_KEPT, LARGEST_ALLOWED)):
        mallopt(M_TRIM_THRESHOLD, NEVER)
