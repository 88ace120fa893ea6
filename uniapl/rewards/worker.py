"""Child process that verifies answers sequentially: `python -m uniapl.rewards.worker FD PARENT_PID OPTIONS`.

Over the pipe FD it sends `None` when ready, and replies to each question with (value, error); the value `None`
means that the row is faulty. SIGPROF limits the CPU time of each answer: its default action terminates the process even
while a regular expression holds the interpreter. SIGALRM limits the wall-clock time without the time that the process
waits for a core, so that a loaded machine ends no answer. Torch is not imported.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from uniapl.errors import RewardError
from uniapl.rewards.verify import reward_of
from uniapl.run.signals import die_with_parent
from uniapl.spec.reward import (
    IfevalReward,
    JsonSchemaReward,
    MathReward,
    Reward,
    RewardOptions,
    SingleReward,
    WeightedSumReward,
)

MEMORY_BYTES = 4 * 2**30
"""Limit of a process's address space; answers such as 10^10^10 raise MemoryError at it."""
RETIRED_BYTES = MEMORY_BYTES // 2
"""Address space above which a process exits and is replaced, so that the next answer has the full limit again."""
RETIRED = 100
"""Exit status of a process above that size; a question sent in the meantime is not processed."""
WALL_CLOCK = 10
"""Limit of the time that an answer may sleep, as a multiple of its limit of CPU time."""
LOAD_LIMIT_S = 120
"""Time limit for importing the libraries of a reward type, in seconds."""

_FIRST: dict[str, SingleReward] = {
    "math": MathReward(answer="x+1"),
    "json_schema": JsonSchemaReward(json_schema={"type": "object"}),
    "ifeval": IfevalReward(
        instruction_id_list=["language:response_language", "length_constraints:number_sentences"],
        kwargs=[{"language": "en"}, {"num_sentences": 1, "relation": "at least"}],
    ),
}
"""Rewards whose first use imports libraries, which is excluded from the time limit of an answer."""


NOT_LOADED = {101 + i: kind for i, kind in enumerate(_FIRST)}
"""Exit statuses of a process that could not import the libraries of a reward type."""


def _load(reward: Reward, loaded: set[str], options: RewardOptions) -> None:
    """Import the libraries of a reward type before its first use; exit on failure, which is not the answer's fault."""
    parts = [part.reward for part in reward.parts] if isinstance(reward, WeightedSumReward) else [reward]
    for status, kind in NOT_LOADED.items():
        if kind in loaded or kind not in {part.type for part in parts}:
            continue
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(LOAD_LIMIT_S)
        try:
            reward_of("A first sentence: $1$.", _FIRST[kind], options)
        except Exception:  # noqa: BLE001  (any defect of the installation)
            traceback.print_exc()
            sys.exit(status)
        signal.alarm(0)
        loaded.add(kind)


def _late(*_: object) -> NoReturn:
    raise TimeoutError(f"importing took longer than {LOAD_LIMIT_S} s")


def _answer(
    question: tuple[str, Reward, bool, float], loaded: set[str], options: RewardOptions
) -> tuple[float | None, str | None]:
    """The reward, and the error."""
    answer, reward, published, limit_s = question
    _load(reward, loaded, options)
    options = options.model_copy(update={"ifeval": "published"}) if published else options
    _limit(limit_s)
    try:
        return reward_of(answer, reward, options), None
    except RewardError as error:
        return None, error.message[:1000]
    except Exception as error:  # noqa: BLE001  (any error gives reward 0)
        return 0.0, f"{type(error).__name__}: {error}"[:1000]
    finally:
        _limit(0)


def _limit(cpu_s: float) -> None:
    """Start the timers of an answer; 0 stops them."""
    end = _asleep_s() + WALL_CLOCK * cpu_s

    def check(*_: object) -> None:
        if (left := end - _asleep_s()) > 0.001:
            signal.setitimer(signal.ITIMER_REAL, left)
        else:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGALRM)

    signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, WALL_CLOCK * cpu_s)  # the same clock as `alarm`


def _asleep_s() -> float:
    """Seconds in which this process neither ran nor waited for a core, from an unspecified start."""
    stat = Path("/proc/self/schedstat")  # nanoseconds on a core, and waiting for one
    waited = int(stat.read_text().split()[1]) if stat.exists() else 0
    return time.monotonic() - time.process_time() - waited / 1e9


def _address_space() -> int:
    """Current address space in bytes; 0 without /proc."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0


def main() -> None:
    """Verify answers until the parent closes the pipe, or the address space exceeds `RETIRED_BYTES`."""
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    options = RewardOptions.model_validate_json(sys.argv[3])
    for kind in (signal.SIGINT, signal.SIGTERM):  # sent to the whole process group; the parent handles them
        signal.signal(kind, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM, signal.SIGPROF])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    loaded: set[str] = set()
    pipe.send(None)
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        pipe.send(_answer(question, loaded, options))
        if _address_space() > RETIRED_BYTES:
            sys.exit(RETIRED)


if __name__ == "__main__":
    main()
