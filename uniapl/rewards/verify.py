"""From a completion to a reward between 0 and 1."""

from __future__ import annotations

from uniapl.rewards.ifeval import followed
from uniapl.spec.job import RewardOptions
from uniapl.spec.reward import Reward


def final_answer(completion: str) -> str:
    """The completion without its reasoning: what follows the last `</think>`."""
    return completion.rpartition("</think>")[2].strip()


def verify(completion: str, reward: Reward, options: RewardOptions) -> float:
    """Reward of one completion.

    Args:
        completion: decoded text, special tokens left out.
        reward: what the row asks for.
        options: fraction of constraints followed (IF-RLVR), or all of them.
    """
    verdicts = followed(final_answer(completion), reward)
    if options.aggregate == "strict":
        return float(all(verdicts))
    return sum(verdicts) / len(verdicts)
