"""What the outside may ask of a running trainer.

SIGTERM: save the last finished policy and stop; a process that is still loading has nothing to save, and ends at once.
SIGUSR1: a checkpoint now. SIGUSR2: every thread's stack on stderr, at once and whatever the trainer is doing; it
continues.
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
    """The process is asked to stop: the step, evaluation or question under way is dropped."""


class Signals:
    """Requests received as signals; `raise_if_stopped` and `take_checkpoint` act on them."""

    def __init__(self) -> None:
        self.stop = False
        self._checkpoint = self._ends_at_once = False

    def install(self) -> None:
        """Take over SIGTERM, SIGUSR1 and SIGUSR2 of this process; a fatal signal writes the stacks too."""
        global _installed
        _installed = self
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR2, all_threads=True)  # in C: a hung interpreter answers as well
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGUSR1, self._on_usr1)

    def take_checkpoint(self) -> bool:
        """Whether a checkpoint was asked for since the last call."""
        asked, self._checkpoint = self._checkpoint, False
        return asked

    @contextmanager
    def loading(self, *, abort: bool = True) -> Iterator[None]:
        """Within the block nothing needs to be saved: a stop ends the process, in the middle of imports too.

        With `abort` false, for a block within such a block: what it holds ends by itself, and the process then.

        Raises:
            SystemExit: a stop is asked for; with the status `ExitStatus.REQUEUE`.
        """
        before, self._ends_at_once = self._ends_at_once, abort
        try:
            self._end_if_asked()
            yield
        finally:
            self._ends_at_once = before or abort
            self._end_if_asked()  # also in place of what was raised: foreign code may have caught the first one
            self._ends_at_once = before

    def _end_if_asked(self) -> None:
        if self.stop and self._ends_at_once:
            self._ends_at_once = False  # a second signal must not break off what closes files and processes
            raise SystemExit(ExitStatus.REQUEUE)

    def _on_term(self, *_: object) -> None:
        self.stop = True
        self._end_if_asked()

    def _on_usr1(self, *_: object) -> None:
        self._checkpoint = True


_installed: Signals | None = None
"""Those of this process."""


def stop_requested() -> bool:
    """Whether this process is asked to stop; never, where no `Signals` are installed."""
    return _installed is not None and _installed.stop


def raise_if_stopped() -> None:
    """To be called where work can end without a trace: between tokens, batches and requests; not while weights change.

    Raises:
        Stopped: this process is asked to stop.
    """
    if stop_requested():
        raise Stopped


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
