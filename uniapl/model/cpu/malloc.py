"""Configuration of glibc's malloc: memory that a step frees stays in the heap for the next step.

By default malloc returns large blocks to the kernel at once and trims the end of the heap, so that every step gets its
activations in new pages, which the kernel must clear: 1.2 of a step's 8 CPU-seconds (docs/benchmarks/train.md).
Results do not change, and the peak grows by fragmentation only.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
LARGEST_KEPT = 2**27
"""In bytes: activations and chunks of logits are smaller; weights and caches of many sequences are larger."""
LARGEST_ALLOWED = 2**25
"""In bytes: the largest threshold that older versions accept."""
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Configure this process; does nothing with another C library."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and any(mallopt(M_MMAP_THRESHOLD, size) for size in (LARGEST_KEPT, LARGEST_ALLOWED)):
        mallopt(M_TRIM_THRESHOLD, NEVER)
