"""Texts of errors that report exhausted memory, of a GPU or of the machine."""

from __future__ import annotations

WORDS = (
    "OutOfMemoryError",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Triton Error [CUDA]: out of memory",
    "MemoryError",
    "can't allocate memory",
)
"""As torch, cuBLAS, Triton and Python write them."""
SHARED_MEMORY = ("No valid triton configs", "out of resource: shared memory")
"""A kernel needs more of the memory inside a GPU's processors than the model of GPU has. Triton calls this
`OutOfMemoryError` too, but smaller batches do not help."""


def lacks_shared_memory(text: str) -> bool:
    """Whether a kernel cannot run on this model of GPU for want of shared memory."""
    return any(words in text for words in SHARED_MEMORY)


def is_out_of_memory(text: str) -> bool:
    """Whether memory that smaller batches need less of is exhausted."""
    return not lacks_shared_memory(text) and any(words in text for words in WORDS)
