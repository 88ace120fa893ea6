"""Process pool that verifies answers, with a limit of CPU time per answer.

A verification may not terminate: a pattern can backtrack without end and holds the interpreter meanwhile. Therefore it
runs in a process that can be killed. An answer that cannot be verified has reward 0; its process is replaced, and other
answers are not affected.

The processes are started as programs, not forked and not through `multiprocessing` (or Pebble, which is based on it): a
fork copies the locks of torch's threads, and a spawned process imports the parent's main module and torch.
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
from uniapl.rewards.worker import NOT_LOADED, RETIRED, WALL_CLOCK
from uniapl.run.signals import raise_if_stopped
from uniapl.spec.reward import Reward, RewardOptions

STARTS = 3
"""Number of processes that may be killed during start, for example for lack of memory, before a call fails."""
PATIENCE = 4
"""Number of answers of a pool that may exceed the full time limit, in addition to one in `PER_TIMEOUT`."""
PER_TIMEOUT = 100
SHORT_LIMIT_S = 1.0
"""Limit of the other answers, in seconds of CPU time: several times the 99th percentile of docs/rewards.md."""


@dataclass(frozen=True)
class Question:
    """An answer to verify, with its reward."""

    answer: str
    """Result of `final_answer`."""
    reward: Reward
    row: str
    """Id of the row, for errors."""
    published: bool = False
    """Whether IFEval constraints are judged as by the original checkers, whatever `reward.ifeval`."""


@dataclass(frozen=True)
class Verdict:
    """Result of a verification: a reward in [0, 1], 0 for an answer that cannot be verified."""

    value: float | None
    """The reward; `None` if the row's gold answer is faulty, so that no answer can be verified."""
    error: str | None = None
    """Reason why the answer or the row cannot be verified."""
    timed_out: bool = False
    """Whether the time limit was exceeded."""


@dataclass
class _Round:
    """Progress of one call of `verify`."""

    questions: Sequence[Question]
    unique: int
    """Number of different questions; equal ones share a verdict."""
    waiting: deque[int]
    verdicts: dict[int, Verdict]
    died: set[int]
    """Questions at which a process died."""
    killed_at_start: int = 0
    """Number of processes killed before their first question."""

    @property
    def left(self) -> int:
        """Number of different questions without a verdict."""
        return self.unique - len(self.verdicts)


def _environment() -> dict[str, str]:
    """Environment of a child: the same code, one thread, a fixed hash seed (sympy's results depend on set order)."""
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    return os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


class _Worker:
    """A child process and its current question."""

    def __init__(self, options: RewardOptions) -> None:
        self.pipe: Connection[Any, Any]
        self.pipe, theirs = Pipe()
        arguments = [str(theirs.fileno()), str(os.getpid()), options.model_dump_json()]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "uniapl.rewards.worker", *arguments],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # the parent handles signals to the job's process group
            env=_environment(),
        )
        theirs.close()
        self._limit_s = self._longest_s = options.time_limit_s
        self.question: int | None = None
        self.ready = False

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(self, index: int, question: Question, limit_s: float) -> None:
        """Send a question with its time limit. If the process has died, `read` raises."""
        self.question, self._limit_s = index, limit_s
        with suppress(OSError):
            self.pipe.send((question.answer, question.reward, question.published, limit_s))

    def read(self) -> Verdict | None:
        """Wait for the verdict, or for `None`, which means ready.

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
        """Whether a signal killed the dead process before its first question."""
        return not self.ready and self._process.wait() < 0

    @property
    def retired(self) -> bool:
        """Whether the dead process exited because of its size, after a verdict."""
        return self._process.wait() == RETIRED

    @property
    def had_full_limit(self) -> bool:
        """Whether the last question had the full time limit."""
        return self._limit_s == self._longest_s

    def cause_of_death(self) -> Verdict:
        """The verdict of the question at which the process died.

        Raises:
            RewardError: the process could not start or not import a library, which is not the answer's fault.
        """
        status = self._process.wait()
        if not self.ready or status in NOT_LOADED:
            failed = f"import the libraries of reward type {NOT_LOADED[status]!r}" if self.ready else "start"
            raise RewardError(
                f"the reward process could not {failed} (exit status {status})",
                hint="see the job's log for the reason; install uniapl with the extra `train`",
            )
        if status in (-signal.SIGPROF, -signal.SIGALRM):
            return self._timed_out(clock=status == -signal.SIGALRM)
        return Verdict(0.0, f"the reward process died with exit status {status}")

    def _timed_out(self, *, clock: bool) -> Verdict:
        """The verdict of a question that exceeded its CPU time, or with `clock` its wall-clock time."""
        limit = "reward.time_limit_s =" if self.had_full_limit else "the limit after several timeouts, in seconds:"
        exceeded = f"took {WALL_CLOCK} times as long as" if clock else "exceeded"
        return Verdict(0.0, f"verification {exceeded} {limit} {self._limit_s:g}", timed_out=True)


class RewardPool:
    """Pool of `options.processes` verifying processes; a context manager that terminates them.

    The processes start on first use. They end with the pool, with this process, and (on Linux) with the thread that
    started them.
    """

    def __init__(self, options: RewardOptions) -> None:
        self.options = options
        self._workers: list[_Worker] = []
        self._verified = 0
        self._timeouts = 0
        """Number of answers that exceeded the full time limit."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Terminate all processes."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def verify(self, questions: Sequence[Question]) -> list[Verdict]:
        """Verdicts in the order of the questions; they do not depend on the number of processes.

        Raises:
            RewardError: no process can be started.
            Stopped: a stop of this process was requested.
        """
        first = {(q.answer, id(q.reward), q.published): i for i, q in reversed(list(enumerate(questions)))}
        same = [first[q.answer, id(q.reward), q.published] for q in questions]
        at = _Round(questions, len(first), deque(sorted(first.values())), verdicts={}, died=set())
        try:
            while at.left:
                raise_if_stopped()
                while len(self._workers) < min(self.options.processes, at.left):
                    self._workers.append(_Worker(self.options))
                self._ask(at)
                self._collect(at)
        except BaseException:
            self.close()  # pending replies would be attributed to the next call
            raise
        return [at.verdicts[i] for i in same]

    def _ask(self, at: _Round) -> None:
        """Send a question to each idle process."""
        for worker in [w for w in self._workers if w.ready and w.question is None]:
            if not at.waiting:
                return
            if worker.alive:
                index = at.waiting.popleft()
                worker.ask(index, at.questions[index], self._limit_s())
            else:
                self._drop(worker)

    def _limit_s(self) -> float:
        """Time limit of the next answer: the full one, or `SHORT_LIMIT_S` if too many answers have exceeded it.

        A job of which a quarter of the answers hang would otherwise wait for the full limit at each of them.
        """
        full = self._timeouts < PATIENCE + self._verified // PER_TIMEOUT
        return self.options.time_limit_s if full else min(self.options.time_limit_s, SHORT_LIMIT_S)

    def _collect(self, at: _Round) -> None:
        """Wait until a process replies, becomes ready, or dies."""
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
                self._verified += 1

    def _bury(self, worker: _Worker, at: _Round) -> None:
        """Handle a dead process. Unless the time limit ended it, its question is retried once."""
        if worker.killed_at_start and at.killed_at_start < STARTS - 1:
            at.killed_at_start += 1
            return self._drop(worker)
        verdict, index, retired = worker.cause_of_death(), worker.question, worker.retired
        self._drop(worker)
        if index is None:
            return
        if verdict.timed_out or (index in at.died and not retired):
            at.verdicts[index] = verdict
            self._timeouts += worker.had_full_limit
            return
        if not retired:
            at.died.add(index)
        at.waiting.appendleft(index)

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        self._workers.remove(worker)


def check_failures(verdicts: Sequence[Verdict], questions: Sequence[Question], options: RewardOptions) -> None:
    """Fail if too many rows are faulty, so that no answer to them can be verified.

    Raises:
        RewardError: more than `options.max_failed_fraction` of the rows; with the first row and its reason.
    """
    failed = [(q, v.error) for q, v in zip(questions, verdicts, strict=True) if v.value is None]
    if not failed or len(failed) / len(verdicts) <= options.max_failed_fraction:
        return
    question, reason = failed[0]
    raise RewardError(
        f"row {question.row}: its {question.reward.type} reward cannot verify any answer: {reason} "
        f"({len(failed)} of {len(verdicts)} answers are affected, and the limit is {options.max_failed_fraction:g})",
        param="reward.max_failed_fraction",
        hint="correct the row's reward, or raise reward.max_failed_fraction",
    )
