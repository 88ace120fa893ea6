"""Processes that verify answers side by side, each answer within a time limit.

A verification may never end: a pattern from a row can backtrack for ever on an answer, and holds the interpreter
while it does. So each runs in a process of its own that can be killed. An answer that cannot be judged, whatever it
does to its process, earns 0; the process is replaced, and the other answers are judged as ever.

The processes are started as programs, neither forked nor through `multiprocessing` (nor Pebble, which builds on it):
forking copies the locks of torch's threads, and a spawned process imports the parent's main module again, and torch
with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from uniapl.errors import RewardError
from uniapl.rewards.worker import NOT_LOADED, RETIRED
from uniapl.run.signals import raise_if_stopped
from uniapl.spec.reward import Reward, RewardOptions

STARTS = 3
"""Processes that may be killed while they start, as where memory is short, before a call gives up."""


@dataclass(frozen=True)
class Question:
    """An answer to verify."""

    answer: str
    """What `final_answer` gives."""
    reward: Reward
    row: str
    """The row's id, for errors."""


@dataclass(frozen=True)
class Verdict:
    """A reward between 0 and 1; 0 for an answer that cannot be judged."""

    value: float | None
    """`None` where no answer can be judged: the row's own gold is at fault."""
    error: str | None = None
    """Why the answer, or the row, cannot be judged."""
    timed_out: bool = False
    """Whether the answer took longer than the limit."""


@dataclass
class _Round:
    """The questions of one call, and how far they are."""

    questions: Sequence[Question]
    waiting: deque[int]
    verdicts: dict[int, Verdict]
    died: set[int]
    """Questions at which a process has died."""
    killed_at_start: int = 0
    """Processes that something killed before they could take a question."""

    @property
    def left(self) -> int:
        """Questions without a verdict."""
        return len(self.questions) - len(self.verdicts)


def _environment() -> dict[str, str]:
    """Of a child process: the same code as here, one thread, and sets that iterate alike in all (sympy's results)."""
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    return os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


class _Worker:
    """One process, and the question it is at."""

    def __init__(self, options: RewardOptions) -> None:
        self.pipe: Connection[Any, Any]
        self.pipe, theirs = Pipe()
        arguments = [str(theirs.fileno()), str(os.getpid()), options.model_dump_json()]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "uniapl.rewards.worker", *arguments],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # signals to the job's process group are this process's to handle
            env=_environment(),
        )
        theirs.close()
        self._limit_s = options.time_limit_s
        self.question: int | None = None
        self.ready = False

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(self, index: int, question: Question) -> None:
        """Give it a question. If the process dies meanwhile, `read` notices."""
        self.question = index
        with suppress(OSError):
            self.pipe.send((question.answer, question.reward))

    def read(self) -> Verdict | None:
        """Its verdict, or `None` if it is ready for its first question; waits for either.

        Raises:
            EOFError: the process died.
        """
        message = self.pipe.recv()
        self.ready = True
        return None if message is None else Verdict(*message)

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self.pipe.close()

    @property
    def killed_at_start(self) -> bool:
        """Whether something killed the process, which has died, before it could take a question."""
        return not self.ready and self._process.wait() < 0

    @property
    def retired(self) -> bool:
        """Whether the process, which has ended, left of its own accord after a verdict."""
        return self._process.wait() == RETIRED

    def cause_of_death(self) -> Verdict:
        """Why a process that died at a question did.

        Raises:
            RewardError: no answer is to blame: it did not start, or not load a library.
        """
        status = self._process.wait()
        if not self.ready or status in NOT_LOADED:
            failed = f"load what it needs for {NOT_LOADED[status]}" if self.ready else "start"
            raise RewardError(
                f"the process that verifies rewards did not {failed} (exit status {status})",
                hint="the job's log says why; uniapl must be installed with its extra `train`",
            )
        if status == -signal.SIGALRM:
            return Verdict(0.0, f"it took longer than reward.time_limit_s = {self._limit_s:g}", timed_out=True)
        return Verdict(0.0, f"its process died with exit status {status}")


class RewardPool:
    """Verifies answers in `options.processes` processes; a context manager that ends them.

    The processes start when they are first needed. They end with the pool, with this process, and (on Linux) with
    the thread that started them.
    """

    def __init__(self, options: RewardOptions) -> None:
        self.options = options
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def verify(self, questions: Sequence[Question]) -> list[Verdict]:
        """Verify answers; the verdicts come in the questions' order, and do not depend on the number of processes.

        Raises:
            RewardError: no process can be started.
            Stopped: this process is asked to stop.
        """
        at = _Round(questions, deque(range(len(questions))), verdicts={}, died=set())
        try:
            while at.left:
                raise_if_stopped()
                while len(self._workers) < min(self.options.processes, at.left):
                    self._workers.append(_Worker(self.options))
                self._ask(at)
                self._collect(at)
        except BaseException:
            self.close()  # what is under way would be taken for the next call's answers
            raise
        return [at.verdicts[i] for i in range(len(questions))]

    def _ask(self, at: _Round) -> None:
        """Give each idle process a question."""
        for worker in [w for w in self._workers if w.ready and w.question is None]:
            if not at.waiting:
                return
            if worker.alive:
                index = at.waiting.popleft()
                worker.ask(index, at.questions[index])
            else:
                self._drop(worker)

    def _collect(self, at: _Round) -> None:
        """Wait until a process has a verdict, gets ready, or dies."""
        busy = [worker for worker in self._workers if worker.question is not None or not worker.ready]
        heard = set(wait([worker.pipe for worker in busy])) if busy else set()
        for worker in busy:
            if worker.pipe not in heard:
                continue
            try:
                verdict = worker.read()
            except (EOFError, OSError):
                self._bury(worker, at)
                continue
            if verdict is not None and worker.question is not None:
                at.verdicts[worker.question] = verdict
                worker.question = None

    def _bury(self, worker: _Worker, at: _Round) -> None:
        """Take note of a death. What else than time ended it may not be the answer's fault: it is asked once more."""
        if worker.killed_at_start and at.killed_at_start < STARTS - 1:
            at.killed_at_start += 1
            return self._drop(worker)
        verdict, index, retired = worker.cause_of_death(), worker.question, worker.retired
        self._drop(worker)
        if index is None:
            return
        if verdict.timed_out or (index in at.died and not retired):
            at.verdicts[index] = verdict
            return
        if not retired:
            at.died.add(index)
        at.waiting.appendleft(index)

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        self._workers.remove(worker)


def check_failures(verdicts: Sequence[Verdict], questions: Sequence[Question], options: RewardOptions) -> None:
    """Stop when too many of the rows are at fault: no answer to them can be judged. Answers are never a reason.

    Raises:
        RewardError: more than `options.max_failed_fraction` of them; it names the first row and its reason.
    """
    failed = [(q, v.error) for q, v in zip(questions, verdicts, strict=True) if v.value is None]
    if not failed or len(failed) / len(verdicts) <= options.max_failed_fraction:
        return
    question, reason = failed[0]
    raise RewardError(
        f"row {question.row}: no answer can be judged by its {question.reward.type} reward: {reason} "
        f"({len(failed)} of {len(verdicts)} such answers, and {options.max_failed_fraction:g} of them may be)",
        param="reward.max_failed_fraction",
        hint="correct the row's reward, or allow more such rows with reward.max_failed_fraction",
    )
