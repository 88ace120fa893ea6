"""The child process that verifies answers one after another: `python -m uniapl.rewards.worker FD PARENT_PID OPTIONS`.

Over the pipe FD it says `None` when it is ready, and answers each (answer, reward) with (value, error). An alarm
bounds each answer: its default action ends the process from outside Python, so that even a regular expression that
holds the interpreter cannot outlive it. Torch is not imported.
"""

from __future__ import annotations

import resource
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from uniapl.rewards.verify import reward_of
from uniapl.signals import die_with_parent
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


def _load(reward: Reward, loaded: set[str], options: RewardOptions) -> None:
    """Load what the reward needs and no earlier one did."""
    parts = [part.reward for part in reward.parts] if isinstance(reward, WeightedSumReward) else [reward]
    for kind in {part.type for part in parts} & _FIRST.keys() - loaded:
        signal.alarm(LOAD_LIMIT_S)
        reward_of("A first sentence: $1$.", _FIRST[kind], options)
        loaded.add(kind)


def _answer(answer: str, reward: Reward, loaded: set[str], options: RewardOptions) -> tuple[float | None, str | None]:
    """The reward, or what went wrong."""
    try:
        _load(reward, loaded, options)
        signal.setitimer(signal.ITIMER_REAL, options.time_limit_s)
        return reward_of(answer, reward, options), None
    except Exception as error:  # noqa: BLE001  (whatever a faulty row runs into is its verdict)
        return None, f"{type(error).__name__}: {error}"[:1000]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # the same clock as `alarm`


def main() -> None:
    """Verify until the parent closes the pipe."""
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


if __name__ == "__main__":
    main()
