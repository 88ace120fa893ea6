"""Signal handling of a trainer process.

SIGTERM: save the last finished step and stop; a process that is still loading has nothing to save and exits at once.
SIGUSR1: write a checkpoint after the current step. SIGUSR2: print every thread's stack on stderr at once and continue.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from uniapl.run.exit_status import ExitStatus


class Stopped(Exception):
    """A stop is requested: the current step, evaluation or request is abandoned."""


class Signals:
    """Requests received as signals; `raise_if_stopped` and `take_checkpoint` act on them."""

    def __init__(self) -> None:
        self.stop = False
        self._checkpoint = self._abort = False

    def install(self) -> None:
        """Install the handlers in this process; a fatal signal prints the stacks too."""
        global _installed
        _installed = self
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR2, all_threads=True)  # in C: works in a hung interpreter too
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGUSR1, self._on_usr1)

    def take_checkpoint(self) -> bool:
        """Whether a checkpoint was requested since the last call."""
        requested, self._checkpoint = self._checkpoint, False
        return requested

    @contextmanager
    def loading(self, *, abort: bool = True) -> Iterator[None]:
        """A block in which there is nothing to save: a stop ends the process, even in the middle of imports.

        With `abort` false, for a block within such a block: the process ends after the block.

        Raises:
            SystemExit: a stop is requested; with the status `ExitStatus.REQUEUE`.
        """
        before, self._abort = self._abort, abort
        try:
            self._exit_if_stopped()
            yield
        finally:
            self._abort = before or abort
            self._exit_if_stopped()  # replaces other exceptions too: foreign code may have caught the first one
            self._abort = before

    def _exit_if_stopped(self) -> None:
        if self.stop and self._abort:
            self._abort = False  # a second signal must not interrupt the closing of files and processes
            raise SystemExit(ExitStatus.REQUEUE)

    def _on_term(self, *_: object) -> None:
        self.stop = True
        self._exit_if_stopped()

    def _on_usr1(self, *_: object) -> None:
        self._checkpoint = True


_installed: Signals | None = None
"""The handlers of this process."""


def stop_requested() -> bool:
    """Whether a stop of this process is requested; false where no `Signals` are installed."""
    return _installed is not None and _installed.stop


def raise_if_stopped() -> None:
    """Raise if a stop is requested; called between tokens, batches and requests, never while weights change.

    Raises:
        Stopped: a stop of this process is requested.
    """
    if stop_requested():
        raise Stopped


def die_with_parent(parent_pid: int, *, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel signal this process when `parent_pid` dies (Linux), so that no trainer outlives its worker.

    `parent_pid` must be this process's own parent, and the thread that started this process must outlive it:
    PR_SET_PDEATHSIG watches the thread.
    """
    if sys.platform != "linux":
        return
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, by)
    if os.getppid() != parent_pid:  # the parent died before the call above
        os.kill(os.getpid(), by)
