"""The child process that verifies answers one after another: `python -m uniapl.rewards.worker FD PARENT_PID OPTIONS`.

Over the pipe FD it sends `None` when it is ready, and answers each (answer, reward) with (value, error); a value of
`None` blames the row. An alarm bounds each answer: its default action ends the process from outside Python, so that
even a regular expression that holds the interpreter cannot outlive it. Torch is not imported.
"""

from __future__ import annotations

import resource
import signal
import sys
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
"""Address space of one process: what an answer such as 10^10^10 may take before it raises MemoryError."""
RETIRED_BYTES = MEMORY_BYTES // 2
"""Address space at which a process makes room for a new one, so that the next answer has the whole of it again."""
RETIRED = 100
"""Exit status of a process that ends because it holds more than that; a question sent to it meanwhile is unread."""
LOAD_LIMIT_S = 120
"""Longest time to load what a type of reward needs."""

_FIRST: dict[str, SingleReward] = {
    "math": MathReward(answer="1"),
    "json_schema": JsonSchemaReward(json_schema={"type": "object"}),
    "ifeval": IfevalReward(
        instruction_id_list=["language:response_language", "length_constraints:number_sentences"],
        kwargs=[{"language": "en"}, {"num_sentences": 1, "relation": "at least"}],
    ),
}
"""Rewards whose first use loads libraries and tables, which must not count as time spent on an answer."""


NOT_LOADED = {101 + i: kind for i, kind in enumerate(_FIRST)}
"""Exit statuses of a process that could not load what a type of reward needs."""


def _load(reward: Reward, loaded: set[str], options: RewardOptions) -> None:
    """Load what the reward needs and no earlier one did, or leave: no answer is to blame."""
    parts = [part.reward for part in reward.parts] if isinstance(reward, WeightedSumReward) else [reward]
    for status, kind in NOT_LOADED.items():
        if kind in loaded or kind not in {part.type for part in parts}:
            continue
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(LOAD_LIMIT_S)
        try:
            reward_of("A first sentence: $1$.", _FIRST[kind], options)
        except Exception:  # noqa: BLE001  (whatever is wrong with the installation)
            traceback.print_exc()
            sys.exit(status)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        loaded.add(kind)


def _late(*_: object) -> NoReturn:
    raise TimeoutError(f"loading took longer than {LOAD_LIMIT_S} s")


def _answer(answer: str, reward: Reward, loaded: set[str], options: RewardOptions) -> tuple[float | None, str | None]:
    """The reward, and what went wrong."""
    _load(reward, loaded, options)
    signal.setitimer(signal.ITIMER_REAL, options.time_limit_s)
    try:
        return reward_of(answer, reward, options), None
    except RewardError as error:
        return None, error.message[:1000]
    except Exception as error:  # noqa: BLE001  (whatever an answer leads to, it earns nothing)
        return 0.0, f"{type(error).__name__}: {error}"[:1000]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # the same clock as `alarm`


def _address_space() -> int:
    """Bytes of address space that the process has now; 0 where there is no /proc."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0


def main() -> None:
    """Verify until the parent closes the pipe, or too much memory is left behind by answers."""
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    options = RewardOptions.model_validate_json(sys.argv[3])
    for kind in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group, they are the parent's to handle
        signal.signal(kind, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    loaded: set[str] = set()
    pipe.send(None)
    while True:
        try:
            answer, reward = pipe.recv()
        except EOFError:
            return
        pipe.send(_answer(answer, reward, loaded, options))
        if _address_space() > RETIRED_BYTES:
            sys.exit(RETIRED)


if __name__ == "__main__":
    main()
