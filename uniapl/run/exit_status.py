"""Exit statuses of the trainer process, its contract with launchers (docs/adr/0004)."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """How a trainer process ended. Values follow `sysexits.h` and never change: operators' scripts read them."""

    DONE = 0
    FAILED = 1
    """An unexpected exception, or an experiment of which some runs failed."""
    USER_ERROR = 64
    """A fault in the user's spec, dataset or server; the last report names the error."""
    NO_GPU = 69
    """The machine has a GPU that torch cannot use."""
    DIVERGED = 70
    """Training diverged, or a failure signature stopped it."""
    DISK_FULL = 74
    REQUEUE = 75
    """Stopped on request; the run resumes from its last checkpoint."""
