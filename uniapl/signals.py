"""What the outside may ask of a running trainer.

SIGTERM: stop after a checkpoint. SIGUSR1: a checkpoint now. SIGUSR2: every thread's stack on stderr, at once and
whatever the trainer is doing; it goes on.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys


class Signals:
    """Flags set by signals and read by the loop at a step's edge."""

    def __init__(self) -> None:
        self.stop = False
        self._checkpoint = False

    def install(self) -> None:
        """Take over SIGTERM, SIGUSR1 and SIGUSR2 of this process; a fatal signal writes the stacks too."""
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR2, all_threads=True)  # in C: a hung interpreter answers as well
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGUSR1, self._on_usr1)

    def take_checkpoint(self) -> bool:
        """Whether a checkpoint was asked for since the last call."""
        asked, self._checkpoint = self._checkpoint, False
        return asked

    def _on_term(self, *_: object) -> None:
        self.stop = True

    def _on_usr1(self, *_: object) -> None:
        self._checkpoint = True


def die_with_parent(parent_pid: int, *, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel signal this process when `parent_pid` dies (Linux), so that no trainer outlives its worker.

    The parent must be this process's own parent, and the thread that started us must live as long as the process:
    PR_SET_PDEATHSIG watches the thread.
    """
    if sys.platform != "linux":
        return
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, by)
    if os.getppid() != parent_pid:  # it died before the call above
        os.kill(os.getpid(), by)
